import { deepEqual, equal, match } from 'node:assert/strict';
import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { waitFor, type Lab } from '../lab.js';
import { domherd, hostsAreBack, vms, waitForHosts, type VmJson } from './cli.js';
import { domains, GUEST_MS, isPinged, waitForGuest } from './guest.js';
import type { Group } from './group.js';
import { join as joined } from './join.js';

const NAMES = ['web-1', 'web-2', 'web-3', 'web-4'];
const WEB = NAMES.join(' ');
const CREATE = `vm create web --count 4 --like domU --memory 96 --spread --request-id lab-create-1`;
/** A file there for each VM that is being made, or was. */
const COPIES = '/var/lib/domherd-agent/copies';

async function find(lab: Lab, name: string): Promise<VmJson> {
  const vm = (await vms(lab)).find((each) => each.name === name);
  if (!vm) throw new Error(`there is no ${name}`);
  return vm;
}

/** Logs in with one key alone, the user's. */
async function logIn(lab: Lab, name: string, key = 'user'): Promise<string> {
  const address = (await find(lab, name)).vifs[0]?.lease?.address ?? '';
  const argv = ['ssh', '-i', `${lab.frontend.home}/${key}`, '-o', 'IdentitiesOnly=yes', '-o', 'BatchMode=yes'] as const;
  const { exitCode, stdout, stderr } = await lab.frontend.run([...argv, address, 'hostname'], { limitMs: 60_000 });
  if (exitCode !== 0) throw new Error(`ssh to ${name} with the key ${key}: ${stderr}`);
  return stdout.trim();
}

async function startAndReach(lab: Lab, names: string): Promise<void> {
  await domherd(lab, `vm start ${names}`);
  await domherd(lab, `vm wait ${names} --for=ping --timeout 5m`);
  await domherd(lab, `vm wait ${names} --for=ssh --timeout 5m`);
}

function consoleLog(lab: Lab, name: string): Promise<string> {
  return domherd(lab, `vm console ${name} --log --lines 400`);
}

/** A volume group on a loop device, and in it what a VM called golden has for its disk. Its cfg comes whole: the agent watches. */
const MAKE_GOLDEN = `set -e
truncate -s 512M /opt/lvm.img
vgcreate -q lab "$(losetup --find --show /opt/lvm.img)"
lvcreate -q -L 64M -n golden-disk lab
dd if=/opt/xen/domU/disk.img of=/dev/lab/golden-disk bs=1M conv=fsync status=none
sed -e "s/'domU'/'golden'/" -e "/swap.img/d" -e "s|file:/opt/xen/domU/disk.img|phy:/dev/lab/golden-disk|" \\
  /etc/xen/domU.cfg > /tmp/golden.cfg
mv /tmp/golden.cfg /etc/xen/`;
const REMOVE_GOLDEN = `set -e
rm /etc/xen/golden.cfg
vgremove -q -y lab
losetup -D
rm /opt/lvm.img`;

const SHARED = '/dev/vdb';
/** On a device that both dom0s see. */
const MAKE_ROAMER = `set -e
dd if=/opt/xen/domU/disk.img of=${SHARED} bs=1M conv=fsync status=none
sed -e "s/'domU'/'roamer'/" -e "/swap.img/d" -e "s|file:/opt/xen/domU/disk.img|phy:${SHARED}|" \\
  /etc/xen/domU.cfg > /tmp/roamer.cfg
mv /tmp/roamer.cfg /etc/xen/`;

/** As a SAN does. A dom0 that was not told of it looks again. */
async function plugShared(lab: Lab): Promise<void> {
  const file = join(lab.folder, 'shared.raw');
  const bytes = Number(await lab.must('dom0-1', 'stat -c %s /opt/xen/domU/disk.img'));
  writeFileSync(file, '');
  truncateSync(file, Math.ceil(bytes / 2 ** 20) * 2 ** 20);
  for (const host of lab.hosts) {
    await lab.machine(host).plugShared(file, 'domherd-lab-shared-1');
    const isThere = async (): Promise<boolean> =>
      (await lab.ssh(host, ['sh', '-c', `echo 1 > /sys/bus/pci/rescan; test -b ${SHARED}`])).exitCode === 0;
    await waitFor(`${SHARED} of ${host}`, isThere, 60_000, 1000);
  }
}

/** VMs by the handful: made though both programs die, reached, watched, cloned, moved, and taken away. */
export const create: Group = {
  name: 'create',
  after: joined,
  steps: (lab) => {
    const files = (): Promise<readonly string[]> =>
      Promise.all(lab.hosts.map((host) => lab.must(host, 'find /etc/xen /opt/xen -type f -printf "%p %s\\n" | sort')));
    const images = (): Promise<readonly string[]> =>
      Promise.all(lab.hosts.map((host) => lab.must(host, 'sha256sum /opt/xen/domU/*.img /etc/xen/domU.cfg')));
    let before: readonly (readonly string[])[] = [];
    return [
      hostsAreBack(lab),
      [
        'an agent and the controller are killed in the middle of a create of four',
        async () => {
          before = [await files(), await images()];
          const key = `${lab.frontend.home}/user`;
          await lab.frontend.run(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', key]);
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
          deepEqual(await images(), before[1]);
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
          const other = `${lab.frontend.home}/other`;
          await lab.frontend.run(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', other]);
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
            limitMs: 120_000,
          });
          const isTold = async (): Promise<boolean> => /sysrq triggered crash/i.test(await consoleLog(lab, 'web-4'));
          await waitFor('the crash in the log of web-4', isTold, GUEST_MS, 1000);
        },
      ],
      [
        'more than the volume group has room for is refused, a VM on a snapshot is made',
        async () => {
          await lab.must('dom0-2', MAKE_GOLDEN, { limitMs: 120_000 });
          const isSeen = async (): Promise<boolean> => (await vms(lab)).some(({ name }) => name === 'golden');
          await waitFor('golden', isSeen, 60_000, 1000);
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
        'VMs of a whole disk are made, by pvgrub and by pygrub with a seed, and one on qcow2',
        async () => {
          const { home } = lab.frontend;
          const image = `--image ${lab.diskImage} --memory 112 --key ${home}/user.pub`;
          const like = `--like domU@dom0-1 --memory 96 --key ${home}/user.pub`;
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
          const isSeen = async (): Promise<boolean> => (await vms(lab)).some(({ name }) => name === 'roamer');
          await waitFor('roamer', isSeen, 60_000, 1000);
          await domherd(lab, 'vm address roamer');
          await domherd(lab, 'vm start seeded');
          await startAndReach(lab, 'snap pic layered inst roamer');
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
        'vm clone --on makes a copy on the other dom0, which starts and answers by the name that it was given since',
        async () => {
          const source = (await find(lab, 'web-1')).host;
          const other = lab.hosts.find((host) => host !== source) ?? '';
          await domherd(lab, 'vm shutdown web-1 --timeout 3m');
          await domherd(lab, `vm clone web-1 twin --on ${other}`);
          const { vifs } = await find(lab, 'twin');
          await domherd(lab, 'vm rename twin sister');
          const sister = await find(lab, 'sister');
          equal(sister.host, other);
          deepEqual(sister.vifs[0]?.lease?.address, vifs[0]?.lease?.address);
          equal(
            (await lab.must(other, 'ls /etc/xen/sister.cfg /etc/xen/twin.cfg || true')).trim(),
            '/etc/xen/sister.cfg',
          );
          await startAndReach(lab, 'sister');
          equal(await logIn(lab, 'sister'), 'sister');
        },
      ],
      [
        'vm migrate --cold moves it back, with its address',
        async () => {
          const { vifs, host } = await find(lab, 'sister');
          const to = lab.hosts.find((each) => each !== host) ?? '';
          await domherd(lab, `vm migrate sister --to ${to} --cold`);
          const moved = await find(lab, 'sister');
          equal(moved.host, to);
          deepEqual(moved.vifs[0]?.lease?.address, vifs[0]?.lease?.address);
          await domherd(lab, 'vm wait sister --for=ssh --timeout 5m');
          equal(await isPinged(lab, vifs[0]?.lease?.address ?? ''), true);
          equal((await lab.must(host, 'find /etc/xen /opt/xen -name "*twin*" -o -name "*sister*"')).trim(), '');
        },
      ],
      [
        'vm migrate refuses to take a VM live whose disk is a file, and leaves it running',
        async () => {
          const { host } = await find(lab, 'sister');
          const to = lab.hosts.find((each) => each !== host) ?? '';
          const { exitCode, stderr } = await lab.frontend.domherd(['vm', 'migrate', 'sister', '--to', to]);
          equal(exitCode, 5, stderr);
          match(stderr, /no block device[^]*--cold/);
          equal((await find(lab, 'sister')).state, 'running');
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
        'vm delete leaves nothing of them, their leases rest, and the dom0s are as they were',
        async () => {
          const all = `${WEB} sister snap pic seeded layered inst`;
          await domherd(lab, `vm shutdown ${all} roamer --timeout 3m --then destroy`);
          await domherd(lab, `vm delete ${all} --yes`);
          const address = (await find(lab, 'roamer')).vifs[0]?.lease?.address ?? '';
          await lab.must('dom0-1', 'rm /etc/xen/roamer.cfg');
          equal((await lab.must('dom0-2', 'lvs --noheadings -o lv_name lab')).trim(), 'golden-disk');
          await lab.must('dom0-2', REMOVE_GOLDEN);
          deepEqual([await files(), await images()], before);
          const isAlone = async (): Promise<boolean> => (await vms(lab)).length === 2;
          await waitFor('the end of golden and roamer', isAlone, 60_000, 1000);
          // Whoever released this one, at the end all rest.
          await lab.frontend.domherd(['lease', 'release', address, '--yes']);
          const leases = JSON.parse(await domherd(lab, 'lease list -o json')) as readonly { readonly state: string }[];
          deepEqual([...new Set(leases.map(({ state }) => state))], ['quarantined']);
        },
      ],
    ];
  },
};
