export interface MachineFiles {
  /** The folder with hypervisor, kernel and initrd. */
  readonly images: string;
  readonly disk: string;
  readonly console: string;
  readonly monitor: string;
  readonly uuid: string;
  readonly mac: string;
  readonly tap: string;
}

/** This file's text is part of the cache's key: a snapshot fits only the arguments that it was made with. */
export function qemuArguments(files: MachineFiles): readonly string[] {
  const { images } = files;
  // A PV dom0 dies early with SMAP on. Mitigations only cost here, but for one: where Xen switches the FPU lazily, a domU that
  // runs changes SSE registers of dom0's processes under TCG: Node, xl and xentop die of SIGSEGV, or read garbage.
  const cpu = 'max,-smap,-smep,-la57';
  const fpu = 'xsave=0 spec-ctrl=no,eager-fpu';
  const xen = `console=com1 com1=115200,8n1 dom0_mem=1024M,max:1024M dom0_max_vcpus=1 loglvl=warning ${fpu}`;
  // An emulated processor translates code once for each address that it stands at: without randomised addresses a
  // program's second start costs a quarter of its first.
  const fast =
    'mitigations=off norandmaps init_on_alloc=0 preempt=none cgroup.memory=nokmem apparmor=0 audit=0 nowatchdog';
  const linux = `console=hvc0 root=/dev/vda net.ifnames=0 systemd.show_status=no ${fast}`;
  return [
    ...['-machine', 'pc', '-accel', 'tcg', '-cpu', cpu, '-smp', '1', '-m', '2048', '-nodefaults', '-display', 'none'],
    ...['-uuid', files.uuid, '-device', 'vmgenid,guid=auto', '-device', 'virtio-rng-pci'],
    ...['-kernel', `${images}/xen.elf`, '-append', xen],
    ...['-initrd', `${images}/vmlinux ${linux},${images}/dom0.initrd`],
    ...['-drive', `file=${files.disk},if=virtio,format=qcow2,cache=unsafe,discard=unmap`],
    ...['-netdev', `tap,id=site,ifname=${files.tap},script=no,downscript=no`],
    ...['-device', `virtio-net-pci,netdev=site,mac=${files.mac}`],
    ...['-serial', `file:${files.console}`],
    ...['-monitor', `unix:${files.monitor},server=on,wait=off`],
  ];
}
