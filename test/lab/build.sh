#!/bin/bash
# Makes the images of the lab from Debian packages. Needs root on Debian 12; installs the packages that it needs itself.
#   build.sh versions      one line for each package that shapes the images: part of the cache's key
#   build.sh images DIR    hypervisor, kernels, initrds, one disk for each dom0, and the lab's ssh key, in DIR
# The mirror, its proxy and its keys are those of this machine's apt.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export DEBIAN_FRONTEND=noninteractive LC_ALL=C

HOSTS=(1 2)
HOST_DISK=5G
TOOLS=(qemu-system-x86 qemu-utils mmdebstrap busybox-static cpio kmod e2fsprogs iproute2 iputils-ping openssh-client
  util-linux uuid-runtime xz-utils fdisk)
XEN=xen-hypervisor-4.17-amd64
GUEST_PACKAGES=(dropbear-bin libtomcrypt1 libtommath1 libgmp10)
DOM0_PACKAGES=(xen-utils-4.17 xen-utils-common xenstore-utils systemd-sysv dbus udev kmod procps less
  iproute2 bridge-utils ifupdown iputils-ping iputils-arping tcpdump openssh-server e2fsprogs lvm2 strace xen-tools
  qemu-system-xen qemu-utils qemu-system-common grub-xen-host dosfstools mtools)
# Of the kernel's drivers only these: the rest is 300 MB that no dom0 of the lab has hardware for.
DRIVERS=(xen block md virtio virt net/xen-netback net/virtio_net.ko net/net_failover.ko net/tun.ko net/veth.ko net/dummy.ko char dax)

install_tools() {
  local missing=() tool
  for tool in "${TOOLS[@]}"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$tool" 2>/dev/null)" = installed ] || missing+=("$tool")
  done
  if [ ${#missing[@]} -gt 0 ] || [ -z "$(apt-cache policy "$XEN")" ]; then apt-get update -qq >&2; fi
  if [ ${#missing[@]} -gt 0 ]; then
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  fi
}

kernel_package() { apt-cache depends linux-image-amd64 | awk '/Depends: linux-image-[0-9]/ {print $2; exit}'; }

versions() {
  qemu-system-x86_64 --version | head -n 1
  apt-cache policy "$XEN" "$(kernel_package)" "${GUEST_PACKAGES[@]}" "${DOM0_PACKAGES[@]}" busybox-static |
    awk '/^[^ ]/ {name = $1} /Candidate:/ {print name, $2}'
}

unpack_packages() { # kernel, hypervisor and the guest's programs, without installing them
  mkdir -p debs unpacked
  (cd debs && apt-get download -qq -o APT::Sandbox::User=root "$XEN" "$KERNEL" "${GUEST_PACKAGES[@]}")
  local deb
  for deb in debs/*.deb; do dpkg -x "$deb" unpacked; done
}

kernels() { # what Xen and libxl would decompress at each start, slowly since emulated, is decompressed here once
  gunzip -c "unpacked/boot/${XEN/hypervisor-/}.gz" > xen.elf
  local image=unpacked/boot/vmlinuz-$VERSION setup offset length
  # The boot protocol of Linux/x86: sectors of the setup, then offset and length of the compressed ELF file.
  setup=$(od -An -tu1 -j $((0x1f1)) -N 1 "$image")
  offset=$(od -An -tu4 -j $((0x248)) -N 4 "$image")
  length=$(od -An -tu4 -j $((0x24c)) -N 4 "$image")
  # The last four bytes are the length after decompression.
  head -c $(((setup + 1) * 512 + offset + length - 4)) "$image" | tail -c $((length - 4)) | xz -dc > vmlinux
}

dom0_root() { # what every dom0 has
  apt-config dump --format '%F "%v";%n' Acquire > apt.conf
  apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 'Origin: Debian' |
    sort -u > sources.list
  local packages=${DOM0_PACKAGES[*]} rule
  mmdebstrap --quiet --variant=minbase --mode=root --include="${packages// /,}" --aptopt=apt.conf \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' bookworm dom0 - < sources.list
  # The mirror of this machine is nothing that a dom0 can reach.
  rm -f dom0/etc/apt/sources.list dom0/etc/apt/apt.conf.d/99mmdebstrap
  cp -r "$here/image/dom0/." dom0/
  echo XENCONSOLED_ARGS=--log=guest >> dom0/etc/default/xen && mkdir -p dom0/var/log/xen/console
  chroot dom0 systemctl -q mask getty@tty1 console-getty systemd-logind apt-daily.timer apt-daily-upgrade.timer \
    dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer lvm2-monitor.service lvm2-lvmpolld.socket \
    ifupdown-pre.service serial-getty@hvc0.service
  # Each would start programs for every loop device and vif; hotplug scripts of Xen have 40 s for all.
  for rule in 60-bridge-network-interface 69-lvm 80-ifupdown; do ln -s /dev/null "dom0/etc/udev/rules.d/$rule.rules"; done
  echo '/dev/vda / ext4 errors=remount-ro 0 1' > dom0/etc/fstab
  rm -f dom0/etc/ssh/ssh_host_*
  install -d -m 700 dom0/root/.ssh
  install -m 600 id.pub dom0/root/.ssh/authorized_keys
  # As the tutorial's image: root of any dom0 made from it may enter its domUs.
  ssh-keygen -q -t ed25519 -N '' -C root@dom0 -f dom0/root/.ssh/id_ed25519
}

modules() { # into dom0, but for most drivers
  local from=unpacked/lib/modules/$VERSION to=dom0/lib/modules/$VERSION folder
  mkdir -p "$to/kernel/drivers/net"
  cp -a "$from"/modules.* "$to/"
  for folder in arch crypto fs lib mm net; do [ ! -e "$from/kernel/$folder" ] || cp -a "$from/kernel/$folder" "$to/kernel/"; done
  for folder in "${DRIVERS[@]}"; do [ ! -e "$from/kernel/drivers/$folder" ] || cp -a "$from/kernel/drivers/$folder" "$to/kernel/drivers/$folder"; done
  depmod -b dom0 "$VERSION"
}

initrd() { # initrd NAME DEVICE MODULE...: loads the modules, mounts DEVICE and goes on there
  local name=$1 device=$2 number=10 module; shift 2
  mkdir -p "$name.d"/{bin,proc,sys,dev,lib/modules,new}
  cp /bin/busybox "$name.d/bin/"
  for module in sh mount insmod switch_root usleep; do ln -sf busybox "$name.d/bin/$module"; done
  for module in $(for wanted in "$@"; do modprobe -d dom0 -S "$VERSION" --show-depends "$wanted"; done |
    awk '/^insmod/ && !seen[$2]++ {print $2}'); do
    cp "$module" "$name.d/lib/modules/$number-$(basename "$module")"
    number=$((number + 1))
  done
  cat > "$name.d/init" <<I
#!/bin/sh
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for module in /lib/modules/*.ko; do insmod \$module; done
n=0; while [ ! -e $device ] && [ \$n -lt 200 ]; do usleep 100000; n=\$((n + 1)); done
mount -t ext4 -o $MOUNT $device /new || exec sh
mount --move /dev /new/dev
exec switch_root /new /sbin/init
I
  chmod +x "$name.d/init"
  (cd "$name.d" && find . | cpio -o -H newc --quiet | gzip -1 > "../$name")
}

guest_disk() { # the tutorial's domU: a partition image with an sshd and a Debian's files
  local library
  mkdir -p guest/{bin,sbin,usr/bin,usr/sbin,proc,sys,dev,root/.ssh,lib/modules,lib64,tmp,var/log,run,mnt,etc/dropbear}
  mkdir -p guest/etc/network/if-{pre-up,up,down,post-down}.d
  ln -s ../run guest/var/run
  cp -r "$here/image/guest/." guest/
  cp /bin/busybox guest/bin/
  chroot guest /bin/busybox --install -s
  cp unpacked/usr/sbin/dropbear guest/usr/sbin/
  cp -a unpacked/usr/lib/x86_64-linux-gnu/lib*.so* guest/lib/
  for library in $(ldd unpacked/usr/sbin/dropbear | awk '/=> \// {print $1}'); do
    [ -e "guest/lib/$library" ] || cp -L "dom0/lib/x86_64-linux-gnu/$library" guest/lib/
  done
  cp -L dom0/lib64/ld-linux-x86-64.so.2 guest/lib64/
  cp "unpacked/lib/modules/$VERSION/kernel/drivers/net/xen-netfront.ko" guest/lib/modules/
  LD_LIBRARY_PATH=unpacked/usr/lib/x86_64-linux-gnu unpacked/usr/bin/dropbearkey -t ed25519 -f guest/etc/dropbear/dropbear_ed25519_host_key >/dev/null
  cat id.pub dom0/root/.ssh/id_ed25519.pub > guest/root/.ssh/authorized_keys
  chmod 600 guest/etc/shadow guest/root/.ssh/authorized_keys guest/etc/dropbear/*
  chmod 700 guest/root/.ssh guest/root
  chmod 1777 guest/tmp
  # Looked for by xen-tools from outside, where there is no /bin/busybox.
  ln -sf busybox guest/bin/ls && ln -sf busybox guest/bin/cp
  chown -R 0:0 guest
  chroot guest /usr/sbin/dropbear -V
  mkdir -p dom0/var/lib/lab
  tar -C guest -cf dom0/var/lib/lab/guest.tar .
  mkdir -p dom0/opt/xen/domU
  truncate -s 48M dom0/opt/xen/domU/disk.img
  mkfs.ext4 -q -F -d guest dom0/opt/xen/domU/disk.img
  truncate -s 16M dom0/opt/xen/domU/swap.img
  mkswap -q dom0/opt/xen/domU/swap.img
}

whole_disk() { # the same guest as a disk with a partition, which has a kernel of its own: pygrub and pvgrub read it
  mkdir -p guest/boot/grub
  # Both unpack it, emulated: what the kernel itself is packed with takes them six times as long.
  gzip -1 -c vmlinux > guest/boot/vmlinuz
  cp disk.initrd guest/boot/initrd.img
  cat > guest/boot/grub/grub.cfg <<'G'
set timeout=0
menuentry 'The guest' {
  insmod gzio
  linux /boot/vmlinuz root=/dev/xvda1 ro console=hvc0 quiet norandmaps
  initrd /boot/initrd.img
}
G
  printf '/dev/xvda1 / ext4 errors=remount-ro 0 1\n/dev/xvdb none swap sw 0 0\n' > guest/etc/fstab
  truncate -s 97M disk.img
  echo '2048,,L,*' | sfdisk -q disk.img
  mkfs.ext4 -q -F -d guest -E offset=$((2048 * 512)) disk.img 96M
}

host_disk() { # host_disk NUMBER: its own names and keys, its own file system
  local host=dom0-$1
  echo "$host" > dom0/etc/hostname
  printf '127.0.0.1\tlocalhost\n127.0.1.1\t%s\n10.183.255.1\tfrontend\n' "$host" > dom0/etc/hosts
  tr -d - < /proc/sys/kernel/random/uuid > dom0/etc/machine-id
  sed "s/@NUMBER@/$1/" "$here/image/interfaces" > dom0/etc/network/interfaces
  rm -f dom0/etc/ssh/ssh_host_*
  ssh-keygen -q -t ed25519 -N '' -C "root@$host" -f dom0/etc/ssh/ssh_host_ed25519_key
  echo "$host,10.180.255.$1 $(cut -d ' ' -f 1,2 dom0/etc/ssh/ssh_host_ed25519_key.pub)" >> known_hosts
  truncate -s "$HOST_DISK" "$host.raw"
  mkfs.ext4 -q -F -E lazy_itable_init=0 -N 100000 -d dom0 "$host.raw"
}

images() {
  mkdir -p "$1" && cd "$1"
  KERNEL=$(kernel_package)
  VERSION=${KERNEL#linux-image-}
  ssh-keygen -q -t ed25519 -N '' -C lab -f id
  (unpack_packages && kernels) &
  dom0_root
  wait $!
  modules
  MOUNT=rw initrd dom0.initrd /dev/vda virtio_pci virtio_blk virtio_net ext4
  MOUNT=ro initrd domU.initrd /dev/xvda2 xen-blkfront ext4
  MOUNT=ro initrd disk.initrd /dev/xvda1 xen-blkfront ext4
  cp vmlinux dom0/boot/vmlinux-domU
  cp domU.initrd dom0/boot/initrd-domU.img
  guest_disk
  whole_disk
  local number
  for number in "${HOSTS[@]}"; do host_disk "$number"; done
  rm -rf debs unpacked dom0 guest dom0.initrd.d domU.initrd.d domU.initrd disk.initrd.d disk.initrd apt.conf sources.list
}

case ${1:-} in
  versions) install_tools; versions ;;
  images) install_tools; images "${2:?a folder}" ;;
  *) echo "usage: $0 versions | images DIR" >&2; exit 2 ;;
esac
