/** Of every copy of the image: the recorded cfg carries it, so each deployed host has it too. */
const IMAGE_MAC = '00:16:3E:1E:5B:0C';

/** `domU`, `domU2`, `domU3`, ... */
export function imageVmNames(count: number): readonly string[] {
  return Array.from({ length: count }, (_, n) => (n === 0 ? 'domU' : `domU${n + 1}`));
}

/** The cfg that the tutorial's image brings, for a copy of that name: only name and disks differ. */
export function imageCfg(name: string): string {
  return `#
# Configuration file for the Xen instance ${name} (simulated: no Xen is behind it)
#

#
#  Kernel + memory size
#
kernel      = '/boot/vmlinuz-2.6.32-5-xen-amd64'
ramdisk     = '/boot/initrd.img-2.6.32-5-xen-amd64'
vcpus       = '1'
memory      = '512'

#
#  Disk device(s).
#
root        = '/dev/xvda2 ro'
disk        = [
                  'file:/opt/xen/domains/${name}/disk.img,xvda2,w',
                  'file:/opt/xen/domains/${name}/swap.img,xvda1,w',
              ]

#
#  Hostname
#
name        = '${name}'

#
#  Networking
#
dhcp        = 'dhcp'
vif         = [ 'mac=${IMAGE_MAC}, bridge=xenbr0' ]

#
#  Behaviour
#
on_poweroff = 'destroy'
on_reboot   = 'restart'
on_crash    = 'restart'
`;
}
