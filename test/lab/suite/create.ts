import { deepEqual, equal, match } from 'node:assert/strict';
import { waitFor } from '../lab.js';
import { domherd, hostsAreBack, vms, waitForHosts } from './cli.js';
import { domains, GUEST_MS, isPinged } from './guest.js';
import type { Group } from './group.js';
import { join } from './join.js';
import {
  consoleLog,
  find,
  imageSums,
  leaseStates,
  logIn,
  makeKey,
  makeOnDevice,
  startAndReach,
  vmFiles,
  waitForImageVms,
  waitForVm,
} from './made-vms.js';

const NAMES = ['web-1', 'web-2', 'web-3', 'web-4'];
const WEB = NAMES.join(' ');
const CREATE = `vm create web --count 4 --like domU --memory 96 --spread --request-id lab-create-1`;
/** A file there for each VM that is being made, or was. */
const COPIES = '/var/lib/domherd-agent/copies';

/** A volume group on a loop device, and in it what a VM called golden has for its disk. */
const MAKE_GOLDEN = `set -e
truncate -s 512M /opt/lvm.img
vgcreate -q lab "$(losetup --find --show /opt/lvm.img)"
lvcreate -q -L 64M -n golden-disk lab
${makeOnDevice('golden', '/dev/lab/golden-disk')}`;
const REMOVE_GOLDEN = `set -e
rm /etc/xen/golden.cfg
vgremove -q -y lab
losetup -D
rm /opt/lvm.img`;

/** VMs by the handful: made though both programs die, reached, watched, cloned, moved, and taken away. */
export const create: Group = {
  name: 'create',
  after: join,
  steps: (lab) => {
    let before: readonly string[] = [];
    return [
      hostsAreBack(lab),
      [
        'an agent and the controller are killed in the middle of a create of four',
        async () => {
          before = await vmFiles(lab);
          const key = await makeKey(lab, 'user');
          const made = lab.frontend.domherd([...CREATE.split(' '), '--key', `${key}.pub`]);
          const isUnderWay = async (): Promise<boolean> => (await lab.must('dom0-1', `ls ${COPIES}`)) !== '';
          await waitFor('the first copy on dom0-1', isUnderWay, 60_000, 20);
          await lab.must('dom0-1', 'systemctl kill -s KILL domherd-agent');
          await lab.frontend.stopController('SIGKILL');
          equal((await made).exitCode === 0, false);
        },
      ],
      [
        'asked again with its id it is gone on with: four VMs, two on each dom0, each with one address',
        async () => {
          await lab.frontend.startController();
          await waitForHosts(lab);
          await domherd(lab, `${CREATE} --key ${lab.frontend.home}/user.pub`);
          const made = (await vms(lab)).filter(({ name }) => name !== 'domU');
          deepEqual(made.map(({ name }) => name).sort(), NAMES);
          deepEqual(made.map(({ host }) => host).sort(), lab.hosts.flatMap((host) => [host, host]).sort());
          const leases = (await domherd(lab, 'lease list --state bound -o ips')).trim().split('\n');
          deepEqual(leases.toSorted(), made.map(({ vifs }) => vifs[0]?.lease?.address ?? '').toSorted());
          equal(new Set(leases).size, 4);
          equal(await domherd(lab, 'lease list --state pending -o ips'), '');
          const sums = await imageSums(lab);
          equal(
            before.every((all, n) => all.endsWith(sums[n] ?? '')),
            true,
          );
          for (const host of lab.hosts) {
            await lab.must(host, 'for disk in /opt/xen/web-*/disk.img; do e2fsck -fn $disk || exit 1; done');
          }
        },
      ],
      [
        "they start, and let the user's key in",
        async () => {
          await startAndReach(lab, WEB);
          for (const host of lab.hosts) equal((await domains(lab, host)).length, 2);
          for (const name of NAMES) equal(await logIn(lab, name), name);
        },
      ],
      [
        'vm run finds each by its own name, vm ssh logs in, vm check misses the name server alone, and keys push lets another key in',
        async () => {
          const said = await domherd(lab, `vm run web-[1-4] --max 2 -- hostname`);
          for (const name of NAMES) match(said, new RegExp(`^-+\\n${name}\\n-+\\n${name}$`, 'm'));
          equal(await domherd(lab, 'vm ssh web-3 -- hostname'), 'web-3\n');
          const checked = await lab.frontend.domherd(['vm', 'check', 'web-2', '--no-headers']);
          // The name server of the reservation is none of the lab's.
          const failed = checked.stdout
            .trim()
            .split('\n')
            .filter((line) => !/ ok /.test(line));
          deepEqual(
            failed.map((line) => line.split(/  +/)[1]),
            ['DNS'],
            checked.stdout,
          );
          const other = await makeKey(lab, 'other');
          await domherd(lab, `keys push web-3 --key ${other}.pub`);
          equal(await logIn(lab, 'web-3', 'other'), 'web-3');
          match(await domherd(lab, `vm run web-* --max 2 -- uname -s`), /^-+\nweb-\[1-4\] \(4\)\n-+\nLinux\n$/);
        },
      ],
      [
        'the log of the console has the boot, and vm console runs what is typed',
        async () => {
          match(await consoleLog(lab, 'web-1'), /web-1 is up: /);
          await domherd(lab, 'vm console web-1', 'root\n');
          // login takes what was typed too early for nothing.
          const type = 'echo sum $((40 + 2)) of $(hostname)\n';
          const isAnswered = async (): Promise<boolean> =>
            (await domherd(lab, 'vm console web-1', type)).includes('sum 42 of web-1');
          await waitFor('an answer on the console of web-1', isAnswered, 120_000, 1000);
          await domherd(lab, 'vm console web-1', 'exit\n');
        },
      ],
      [
        'a crash is in the log afterwards',
        async () => {
          await lab.frontend.domherd(['vm', 'ssh', 'web-4', '--', 'echo c > /proc/sysrq-trigger'], {
            // It gets no answer.
            limitMs: 15_000,
          });
          const isTold = async (): Promise<boolean> => /sysrq triggered crash/i.test(await consoleLog(lab, 'web-4'));
          await waitFor('the crash in the log of web-4', isTold, GUEST_MS, 1000);
        },
      ],
      [
        'more than the volume group has room for is refused, a VM on a snapshot is made',
        async () => {
          // Emulated processors have enough to do.
          await domherd(lab, `vm shutdown ${WEB} --timeout 3m --then destroy`);
          await lab.must('dom0-2', MAKE_GOLDEN, { limitMs: 120_000 });
          await waitForVm(lab, 'golden');
          match(await domherd(lab, 'disk list --host dom0-2'), /^dom0-2 +lab +/m);
          const tooMany = 'vm create many --count 8 --like golden@dom0-2 --memory 16'.split(' ');
          const { exitCode, stderr } = await lab.frontend.domherd(tooMany);
          equal(exitCode, 7, stderr);
          match(stderr, /fit/);
          equal((await lab.must('dom0-2', 'lvs --noheadings -o lv_name lab')).trim(), 'golden-disk');
          await domherd(
            lab,
            `vm create snap --like golden@dom0-2 --storage lvm-snapshot --memory 96 --key ${lab.frontend.home}/user.pub`,
          );
          match(await lab.must('dom0-2', 'lvs --noheadings -o lv_name,origin lab'), /snap\S* +golden-disk/);
        },
      ],
      [
        'vm clone --on makes a copy of the snapshot on the other dom0, and both start; it answers by the name that it was given since',
        async () => {
          await domherd(lab, 'vm clone snap twin --on dom0-1');
          equal(await lab.must('dom0-1', 'stat -c %s /opt/xen/twin/*.img'), `${String(64 * 2 ** 20)}\n`);
          const { vifs } = await find(lab, 'twin');
          await domherd(lab, 'vm rename twin sister');
          const sister = await find(lab, 'sister');
          equal(sister.host, 'dom0-1');
          deepEqual(sister.vifs[0]?.lease?.address, vifs[0]?.lease?.address);
          equal(
            (await lab.must('dom0-1', 'ls /etc/xen/sister.cfg /etc/xen/twin.cfg || true')).trim(),
            '/etc/xen/sister.cfg',
          );
          await startAndReach(lab, 'snap sister');
          for (const name of ['snap', 'sister']) equal(await logIn(lab, name), name);
        },
      ],
      [
        'vm migrate --cold moves it, with its address',
        async () => {
          const { vifs } = await find(lab, 'sister');
          await domherd(lab, 'vm migrate sister --to dom0-2 --cold');
          const moved = await find(lab, 'sister');
          equal(moved.host, 'dom0-2');
          deepEqual(moved.vifs[0]?.lease?.address, vifs[0]?.lease?.address);
          await domherd(lab, 'vm wait sister --for=ssh --timeout 5m');
          equal(await isPinged(lab, vifs[0]?.lease?.address ?? ''), true);
          equal((await lab.must('dom0-1', 'find /etc/xen /opt/xen -name "*twin*" -o -name "*sister*"')).trim(), '');
        },
      ],
      [
        'vm migrate refuses to take a VM live whose disk is a file, and leaves it running',
        async () => {
          const { exitCode, stderr } = await lab.frontend.domherd(['vm', 'migrate', 'sister', '--to', 'dom0-1']);
          equal(exitCode, 5, stderr);
          match(stderr, /no block device[^]*--cold/);
          equal((await find(lab, 'sister')).state, 'running');
        },
      ],
      [
        'vm delete leaves nothing of them, their leases rest, and the dom0s are as they were',
        async () => {
          const all = `${WEB} sister snap`;
          await domherd(lab, `vm shutdown sister snap --timeout 3m --then destroy`);
          await domherd(lab, `vm delete ${all} --yes`);
          equal((await lab.must('dom0-2', 'lvs --noheadings -o lv_name lab')).trim(), 'golden-disk');
          await lab.must('dom0-2', REMOVE_GOLDEN);
          deepEqual(await vmFiles(lab), before);
          await waitForImageVms(lab);
          deepEqual(await leaseStates(lab), ['quarantined']);
        },
      ],
    ];
  },
};
