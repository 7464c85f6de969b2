import { deepEqual, equal, match } from 'node:assert/strict';
import { waitFor } from '../lab.js';
import { domherd, hostsAreBack } from './cli.js';
import { GUEST_MS, waitForGuest } from './guest.js';
import type { Group } from './group.js';
import { join } from './join.js';
import {
  consoleLog,
  find,
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

/** On a device that both dom0s see. */
const MAKE_ROAMER = `set -e
${makeOnDevice('roamer', SHARED_DEVICE)}`;

/** VMs of every other make: whole disks, overlays, what an installer makes; and one on a device that both dom0s see. */
export const images: Group = {
  name: 'images',
  after: join,
  unnamed: 'never',
  steps: (lab) => {
    let before: readonly string[] = [];
    return [
      hostsAreBack(lab),
      [
        'VMs of a whole disk are made, by pvgrub and by pygrub with a seed, and one on qcow2',
        async () => {
          before = await vmFiles(lab);
          const key = await makeKey(lab, 'user');
          const image = `--image ${lab.diskImage} --memory 112 --key ${key}.pub`;
          const like = `--like domU@dom0-1 --memory 96 --key ${key}.pub`;
          const isSent = async (): Promise<boolean> => (await domherd(lab, 'image list')).includes('disk.img');
          const makeSeeded = async (): Promise<void> => {
            await waitFor('the image', isSent, 120_000, 500);
            await domherd(lab, `vm create seeded --bootloader pygrub --cloud-init ${image} --on dom0-2`);
          };
          await Promise.all([
            domherd(lab, `vm create pic --swap 16 --extra-disk 16 ${image} --on dom0-1`),
            domherd(lab, `vm create layered --storage qcow2 ${like}`),
            makeSeeded(),
          ]);
          match(await lab.must('dom0-1', 'cat /etc/xen/pic.cfg'), /grub-x86_64-xen/);
          match(await lab.must('dom0-2', 'cat /etc/xen/seeded.cfg'), /pygrub/);
          await domherd(lab, 'image delete disk.img --yes');
          match(await lab.must('dom0-1', 'cat /etc/xen/layered.cfg'), /qcow2/);
        },
      ],
      [
        'xen-tools makes a VM of a tarball, with the MAC and the bridge of its lease, and nothing mounted',
        async () => {
          const source = '--installer xen-tools --dist jessie --tarball /var/lib/lab/guest.tar';
          const shape = `--disk 48 --swap 16 --memory 96 --key ${lab.frontend.home}/user.pub`;
          await domherd(lab, `vm create inst ${source} ${shape}`);
          const { host, vifs } = await find(lab, 'inst');
          const cfg = await lab.must(host, 'cat /etc/xen/inst.cfg');
          match(cfg, new RegExp(`mac=${vifs[0]?.lease?.mac ?? 'none'}`, 'i'));
          match(cfg, /\bbridge=/);
          equal(/\bip=|dhcp/.test(cfg), false, cfg);
          await lab.must(host, 'e2fsck -fn /opt/xen/inst/disk.img');
          equal(await lab.must(host, 'grep installs /proc/mounts; losetup --list | grep installs || true'), '');
        },
      ],
      [
        "all of them start and answer, and let the user's key in",
        async () => {
          await plugShared(lab);
          await lab.must('dom0-1', MAKE_ROAMER, { limitMs: 120_000 });
          await waitForVm(lab, 'roamer');
          await domherd(lab, 'vm address roamer');
          await domherd(lab, 'vm start seeded');
          await startAndReach(lab, 'pic layered inst roamer');
          for (const name of ['pic', 'layered', 'inst']) equal(await logIn(lab, name), name);
        },
      ],
      [
        'they see the disks, the swap space and the seed that they were given',
        async () => {
          match(await domherd(lab, 'vm ssh pic -- cat /proc/swaps'), /\/dev\/xvdb/);
          match(await domherd(lab, 'vm ssh pic -- cat /sys/block/xvdc/size'), /^32768$/m);
          const isTold = async (): Promise<boolean> =>
            /"local-hostname": "seeded"/.test(await consoleLog(lab, 'seeded'));
          await waitFor('the seed in the log of seeded', isTold, GUEST_MS, 1000);
        },
      ],
      [
        'where both see the same device, it says that this Xen cannot follow a running PV domain, which runs on',
        async () => {
          const address = (await find(lab, 'roamer')).vifs[0]?.lease?.address ?? '';
          const bootId = await waitForGuest(lab, address);
          const keys = await lab.must('dom0-2', 'cat /root/.ssh/authorized_keys');
          const { exitCode, stderr } = await lab.frontend.domherd(['vm', 'migrate', 'roamer', '--to', 'dom0-2']);
          equal(exitCode, 5, stderr);
          match(stderr, /without shadow paging[^]*--cold/);
          equal(await waitForGuest(lab, address), bootId);
          equal(await lab.must('dom0-2', 'cat /root/.ssh/authorized_keys'), keys);
          equal((await lab.must('dom0-2', 'find /etc/xen -name "roamer*"')).trim(), '');
        },
      ],
      [
        'vm delete leaves nothing of them, and the dom0s are as they were',
        async () => {
          const all = 'pic seeded layered inst';
          await domherd(lab, `vm shutdown ${all} roamer --timeout 3m --then destroy`);
          await domherd(lab, `vm delete ${all} --yes`);
          const address = (await find(lab, 'roamer')).vifs[0]?.lease?.address ?? '';
          await lab.must('dom0-1', 'rm /etc/xen/roamer.cfg');
          deepEqual(await vmFiles(lab), before);
          await waitForImageVms(lab);
          // Whoever released this one, at the end all rest.
          await lab.frontend.domherd(['lease', 'release', address, '--yes']);
          deepEqual(await leaseStates(lab), ['quarantined']);
        },
      ],
    ];
  },
};
