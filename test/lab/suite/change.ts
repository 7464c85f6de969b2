import { deepEqual, equal, match } from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { waitFor, type Lab } from '../lab.js';
import { domherd, hostsAreBack, vms } from './cli.js';
import { waitForGuest } from './guest.js';
import type { Group } from './group.js';
import { join as joined } from './join.js';
import {
  find,
  imageSums,
  leaseStates,
  logIn,
  makeKey,
  makeOnDevice,
  plugShared,
  SHARED_DEVICE,
  startAndReach,
  vmFiles,
  waitForImageVms,
  waitForVm,
} from './made-vms.js';

/** Two on one dom0: what is left of the other is for the thin pool. */
const FLEET = `vms:
  - name: app
    count: 2
    like: domU@dom0-1
    memory: 96
    vcpus: 1
    labels: {role: app}
    started: true
`;

/** A thin pool on a loop device, and in it what a VM called lean has for its disk. */
const MAKE_LEAN = `set -e
truncate -s 512M /opt/thin.img
vgcreate -q lab "$(losetup --find --show /opt/thin.img)"
lvcreate -q --type thin-pool -L 256M -n pool lab
lvcreate -q -V 64M --thinpool lab/pool -n lean-disk
${makeOnDevice('lean', '/dev/lab/lean-disk')}`;
const REMOVE_LEAN = `set -e
rm /etc/xen/lean.cfg
vgremove -q -y lab
losetup -D
rm /opt/thin.img`;

/** PVH: docs/decisions/0015-live.md. */
const PVH = `-e "s/^memory .*/memory = '96'/" -e "\\$ a type = 'pvh'" -e "\\$ a tsc_mode = 'native'"`;
const MAKE_ROAMER = `set -e\n${makeOnDevice('roamer', SHARED_DEVICE, PVH)}`;

/** @returns MiB that Xen gives a domain, and its processors */
async function sizeOf(lab: Lab, host: string, name: string): Promise<readonly number[]> {
  const fields = (await lab.must(host, `xl list ${name} | tail -n 1`)).split(/ +/);
  return [Number(fields[2]), Number(fields[3])];
}

/** A guest gives memory back as it can, and brings its processors up one after the other. */
async function waitForSize(lab: Lab, host: string, name: string, size: readonly [number, number]): Promise<void> {
  const isIt = async (): Promise<boolean> => isDeepStrictEqual(await sizeOf(lab, host, name), size);
  await waitFor(`${name} with ${size.join(' MiB and vcpus ')}`, isIt, 60_000, 500);
}

async function addressOf(lab: Lab, name: string): Promise<string> {
  const address = (await find(lab, name)).vifs[0]?.lease?.address;
  if (address === undefined) throw new Error(`${name} has no lease`);
  return address;
}

/** VMs that are changed while they run, and one that goes to the other dom0 so. */
export const change: Group = {
  name: 'change',
  after: joined,
  unnamed: 'never',
  steps: (lab) => {
    let before: readonly string[] = [];
    let sums: readonly string[] = [];
    const fleet = join(lab.frontend.home, 'fleet.yaml');
    return [
      hostsAreBack(lab),
      [
        'vm apply makes and starts the VMs of a file, and the same again does nothing',
        async () => {
          before = await vmFiles(lab);
          sums = await imageSums(lab);
          writeFileSync(fleet, FLEET);
          await domherd(lab, `vm apply -f ${fleet}`);
          await domherd(lab, 'vm wait app-1 app-2 --for=ssh --timeout 5m');
          const made = await vms(lab);
          await domherd(lab, `vm apply -f ${fleet}`);
          deepEqual(await vms(lab), made);
          equal(await domherd(lab, `vm diff -f ${fleet} -o name`), '');
        },
      ],
      [
        'vm set gives a running one less memory at once, more and another vcpu when vm restart starts it',
        async () => {
          const address = await addressOf(lab, 'app-1');
          const boot = await waitForGuest(lab, address);
          await waitForSize(lab, 'dom0-1', 'app-1', [96, 1]);
          await domherd(lab, 'vm set app-1 --memory 88');
          await waitForSize(lab, 'dom0-1', 'app-1', [88, 1]);
          await domherd(lab, 'vm set app-1 --memory 112 --vcpus 2');
          equal(await waitForGuest(lab, address), boot);
          await domherd(lab, 'vm restart app-1 --timeout 3m');
          await waitForSize(lab, 'dom0-1', 'app-1', [112, 2]);
          equal((await waitForGuest(lab, address)) === boot, false);
        },
      ],
      [
        'vm apply finds what differs from the file and gives it back',
        async () => {
          match(await domherd(lab, `vm diff -f ${fleet}`), /app-1/);
          await domherd(lab, `vm apply -f ${fleet}`);
          await waitForSize(lab, 'dom0-1', 'app-1', [96, 1]);
        },
      ],
      [
        'vm clone --stop-source copies a running one, which runs again afterwards; the copy boots as it is told',
        async () => {
          const address = await addressOf(lab, 'app-2');
          const boot = await waitForGuest(lab, address);
          const cloned =
            'vm clone app-2 twin --stop-source --kernel /boot/vmlinux-domU --ramdisk /boot/initrd-domU.img';
          const argv = [...cloned.split(' '), '--cmdline', 'console=hvc0 quiet norandmaps told=twin'];
          const { exitCode, stderr } = await lab.frontend.domherd(argv);
          equal(exitCode, 0, stderr);
          equal((await find(lab, 'twin')).state, 'stopped');
          equal((await find(lab, 'app-2')).state, 'running');
          equal((await waitForGuest(lab, address)) === boot, false);
          await lab.must('dom0-1', 'e2fsck -fn /opt/xen/twin/disk.img');
          await startAndReach(lab, 'twin');
          match(await domherd(lab, 'vm ssh twin -- cat /proc/cmdline'), /root=\/dev\/xvda2 ro .*told=twin/);
          await domherd(lab, 'vm shutdown twin --timeout 3m --then destroy');
        },
      ],
      [
        'vm autostart on has a VM run again when its dom0 has booted, off has it stay off',
        async () => {
          await domherd(lab, 'vm autostart on app-2');
          await domherd(lab, 'vm shutdown app-1 app-2 --timeout 3m --then destroy');
          await lab.reboot('dom0-1');
          await waitForGuest(lab, await addressOf(lab, 'app-2'));
          await domherd(lab, 'vm wait app-2 --for=ssh --timeout 5m');
          equal((await find(lab, 'app-1')).state, 'stopped');
          await domherd(lab, 'vm autostart off app-2');
          equal((await lab.must('dom0-1', 'find /etc/xen/auto -name "app*"')).trim(), '');
          await domherd(lab, 'vm shutdown app-2 --timeout 3m --then destroy');
        },
      ],
      [
        'a copy of a VM in a thin pool is a snapshot in it, unasked; one of a file goes there when asked, and both start',
        async () => {
          await lab.must('dom0-2', MAKE_LEAN, { limitMs: 120_000 });
          await waitForVm(lab, 'lean');
          match(await domherd(lab, 'disk list --host dom0-2'), /^dom0-2 +lab\/pool +/m);
          const key = await makeKey(lab, 'user');
          const shape = `--memory 96 --key ${key}.pub`;
          await domherd(lab, `vm create thin --like lean@dom0-2 ${shape}`);
          await domherd(lab, `vm create filed --like domU@dom0-2 --storage lvm-thin ${shape}`);
          const volumes = await lab.must('dom0-2', 'lvs --noheadings -o lv_name,pool_lv,origin lab');
          match(volumes, /^ *thin\S* +pool +lean-disk *$/m);
          equal(volumes.match(/^ *filed\S* +pool *$/gm)?.length, 2, volumes);
          await startAndReach(lab, 'thin filed');
          for (const name of ['thin', 'filed']) equal(await logIn(lab, name), name);
          await domherd(lab, 'vm shutdown thin filed --timeout 3m --then destroy');
          await domherd(lab, 'vm delete thin filed --yes');
          match(await lab.must('dom0-2', 'lvs --noheadings -o lv_name lab'), /^\s*lean-disk\s+pool\s*$/);
          await lab.must('dom0-2', REMOVE_LEAN);
        },
      ],
      [
        'a PVH domain on a device that both see goes to the other dom0 while it runs, with MAC, address and lease',
        async () => {
          await plugShared(lab);
          await lab.must('dom0-1', MAKE_ROAMER, { limitMs: 120_000 });
          await waitForVm(lab, 'roamer');
          await domherd(lab, 'vm address roamer');
          await startAndReach(lab, 'roamer');
          const { mac } = (await find(lab, 'roamer')).vifs[0] ?? {};
          const address = await addressOf(lab, 'roamer');
          const boot = await waitForGuest(lab, address);
          const keys = await lab.must('dom0-2', 'cat /root/.ssh/authorized_keys');
          const started = Date.now();
          await domherd(lab, 'vm migrate roamer --to dom0-2');
          const seconds = ((Date.now() - started) / 1000).toFixed(0);
          equal(await waitForGuest(lab, address), boot);
          const moved = await find(lab, 'roamer');
          deepEqual([moved.host, moved.state, moved.vifs[0]?.mac], ['dom0-2', 'running', mac]);
          equal(await addressOf(lab, 'roamer'), address);
          match(await lab.must('dom0-2', 'xl list'), /^roamer /m);
          equal(/^roamer/m.test(await lab.must('dom0-1', 'xl list')), false);
          equal((await lab.must('dom0-1', 'find /etc/xen -name "roamer*"')).trim(), '');
          equal(await lab.must('dom0-2', 'cat /root/.ssh/authorized_keys'), keys);
          return `${seconds} s`;
        },
      ],
      [
        'vm apply --prune takes away what the file names no more, and the dom0s are as they were',
        async () => {
          await domherd(lab, 'vm shutdown roamer --timeout 3m --then destroy');
          const address = await addressOf(lab, 'roamer');
          await lab.must('dom0-2', 'rm /etc/xen/roamer.cfg');
          await domherd(lab, 'vm delete twin --yes');
          writeFileSync(fleet, 'vms: []\n');
          await domherd(lab, `vm apply -f ${fleet} --prune --yes`);
          deepEqual(await vmFiles(lab), before);
          deepEqual(await imageSums(lab), sums);
          await waitForImageVms(lab);
          await lab.frontend.domherd(['lease', 'release', address, '--yes']);
          deepEqual(await leaseStates(lab), ['quarantined']);
        },
      ],
    ];
  },
};
