import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { DirRecordStore } from '../../agent/adapters/disk/dir-record-store.js';
import { KernelDiskUse } from '../../agent/adapters/guest/disk-use.js';
import { E2fsGuestDisk } from '../../agent/adapters/guest/e2fs-guest-disk.js';
import type { GuestSettings } from '../../agent/domain/order.js';
import { parseXlCfg } from '../../agent/domain/xl-cfg/xl-cfg.js';
import type { Guest } from '../../agent/ports/guest-disk.js';
import { formatIpv4, parseIpv4 } from '../../shared/domain/ipv4.js';
import { parseMac } from '../../shared/domain/mac.js';
import { createExec } from '../../shared/exec.js';
import { guestDiskContract } from '../contract/guest-disk-contract.js';
import {
  DEBIAN,
  fsBytes,
  isClean,
  lengthen,
  makeImage,
  makeWholeDisk,
  ownershipInImage,
  partImage,
  partsOf,
  readInImage,
} from '../harness/guest-image.js';

// Whole disks with real partition tables and file systems, made by sfdisk and mke2fs; loop devices stand for logical volumes.

const NEVER = new AbortController().signal;
const MIB = 1024 * 1024;
const BIOS_BOOT = '21686148-6449-6E6F-744E-656564454649';
const LINUX_ROOT = '4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709';
const GPT = `label: gpt\nsize=1M,type=${BIOS_BOOT}\nsize=8M,type=linux\ntype=linux\n`;
const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKYnmmOsCJEGsI325IjJzdvLDKHTcjouAb7EMdr0SFdA me';
const FILES = {
  ...DEBIAN,
  '/etc/ssh/ssh_host_ed25519_key': { text: 'an old key\n', mode: 0o600 },
  '/etc/fstab': '/dev/xvda3 / ext4 defaults 0 1\n',
};

const SETTINGS: GuestSettings = {
  vifs: [
    {
      index: 0,
      mac: parseMac('00:16:3e:b4:00:07'),
      address: parseIpv4('10.180.0.7'),
      settings: {
        prefixLength: 14,
        broadcast: parseIpv4('10.183.255.255'),
        gateway: parseIpv4('10.183.255.254'),
        dns: [parseIpv4('172.16.16.247')],
        domain: '',
      },
      hasDefaultRoute: true,
    },
  ],
  hostname: 'vm7',
};

function makeRig(t: Test, target?: string, lines = '', vdev = 'xvda') {
  const root = mkdtempSync(join(tmpdir(), 'dh-part-'));
  t.teardown(() => rmSync(root, { recursive: true }));
  const image = join(root, 'disk.img');
  const disk = (): E2fsGuestDisk =>
    new E2fsGuestDisk({
      exec: createExec(process.env),
      use: new KernelDiskUse(),
      changes: new DirRecordStore(join(root, 'changes')),
      originals: new DirRecordStore(join(root, 'originals')),
      workFolder: join(root, 'work'),
    });
  const text = `name = 'domU'\ndisk = [ 'phy:${target ?? image},${vdev},w' ]\nvif = [ 'bridge=br0' ]\n${lines}\n`;
  const guest: Guest = { name: 'domU', cfgPath: '/etc/xen/domU.cfg', cfg: parseXlCfg(text) };
  return { root, image, disk: disk(), again: disk, guest };
}

async function addressOf(disk: E2fsGuestDisk, guest: Guest): Promise<string | undefined> {
  const address = (await disk.read(guest))?.addresses.get(0);
  return address && formatIpv4(address);
}

/** A block device of a file, or of a piece of one. */
function attach(t: Test, image: string, ...options: readonly string[]): string {
  const device = execFileSync('losetup', ['--find', '--show', ...options, image])
    .toString()
    .trim();
  t.teardown(() => execFileSync('losetup', ['--detach', device]));
  return device;
}

t.test('a whole disk is a guest disk', (t) => {
  guestDiskContract(t, (t) => {
    const { guest, again, image } = makeRig(t);
    makeWholeDisk(image, 48, GPT, { 3: DEBIAN });
    const usableBytes = (): number => fsBytes(partImage(image, partsOf(image).get(3)!));
    return Promise.resolve({
      ...{ guest, open: () => Promise.resolve(again()), lengthen: () => lengthen(image), usableBytes },
    });
  });
  t.end();
});

t.test('only the root of a whole disk is written, and can be undone to the last byte', async (t) => {
  for (const [name, script, number, lines] of [
    ['GPT, to be looked for', GPT, 3, ''],
    ['GPT, marked as root', `label: gpt\nsize=12M,type=linux\nsize=30M,type=${LINUX_ROOT}\n`, 2, ''],
    ['GPT, as the kernel is told', GPT, 3, "root = '/dev/xvda3 ro'"],
    ['MBR', 'label: dos\nsize=8M,type=82\ntype=83\n', 2, "extra = 'root=/dev/xvda2 ro'"],
    ['a logical one', 'label: dos\nsize=8M,type=83\ntype=5\nsize=8M,type=83\ntype=83\n', 6, "root = '/dev/xvda6'"],
  ] as const) {
    const { image, disk, guest } = makeRig(t, undefined, lines);
    const others = { [number === 3 ? 2 : 1]: { '/grub/grub.cfg': '' } };
    const parts = makeWholeDisk(image, 64, script, { ...others, [number]: FILES });
    const part = parts.get(number)!;
    const before = readFileSync(image);
    const change = await disk.write(guest, SETTINGS, NEVER);
    const fs = partImage(image, part);
    t.equal(readInImage(fs, '/etc/hostname'), 'vm7\n', name);
    t.ok(isClean(fs), name);
    t.equal(await addressOf(disk, guest), '10.180.0.7', name);
    const after = readFileSync(image);
    t.ok(before.subarray(0, part.at).equals(after.subarray(0, part.at)), `${name}: what is before stays`);
    const end = part.at + part.sizeBytes;
    t.ok(before.subarray(end).equals(after.subarray(end)), `${name}: what is after stays`);
    await change.undo();
    t.ok(before.equals(readFileSync(image)), `${name}: undone`);
  }
});

t.test('a copy of a whole disk gets its keys, and grows to its new end', async (t) => {
  for (const [name, script, number] of [
    ['GPT', GPT, 3],
    ['MBR', 'label: dos\nsize=8M,type=82\ntype=83\n', 2],
  ] as const) {
    const { image, disk, guest } = makeRig(t);
    makeWholeDisk(image, 48, script, { [number]: FILES }, ['-O', '^resize_inode']);
    const old = partsOf(image).get(number)!;
    await disk.renew(guest, { authorizedKeys: [KEY], swapDevice: '/dev/xvdb' }, NEVER);
    truncateSync(image, 300 * MIB);
    await disk.grow(guest, NEVER);
    const part = partsOf(image).get(number)!;
    const fs = partImage(image, part);
    t.equal(statSync(image).size, 300 * MIB, `${name}: the disk stays as long as it is`);
    t.equal(part.at, old.at, name);
    t.ok(part.at + part.sizeBytes > 299 * MIB, name);
    execFileSync('sfdisk', ['--verify', image], { stdio: 'pipe' });
    if (name === 'GPT') t.match(execFileSync('sgdisk', ['--verify', image]).toString(), /No problems found/);
    t.ok(isClean(fs), name);
    const header = execFileSync('dumpe2fs', ['-h', fs], { stdio: ['ignore', 'pipe', 'ignore'] }).toString();
    const [blocks, size] = [/Block count: +(\d+)/, /Block size: +(\d+)/].map((what) => Number(what.exec(header)?.[1]));
    t.ok(blocks! * size! > 280 * MIB && blocks! * size! <= part.sizeBytes, name);
    t.equal(readInImage(fs, '/root/.ssh/authorized_keys'), `${KEY}\n`);
    t.equal(ownershipInImage(fs, '/root/.ssh'), '0700 0 0');
    t.match(readInImage(fs, '/etc/fstab'), '/dev/xvdb none swap sw 0 0\n');
    t.match((await disk.read(guest))?.hostKeys, [/^ssh-ed25519 AAAA/]);
    const grown = readFileSync(image);
    await disk.grow(guest, NEVER);
    t.ok(grown.equals(readFileSync(image)), `${name}: once is enough`);
    t.notMatch(execFileSync('losetup', ['--list', '--noheadings', '--output', 'BACK-FILE']).toString(), image);
    await (await disk.write(guest, SETTINGS, NEVER)).keep();
    t.equal(await addressOf(disk, guest), '10.180.0.7', 'it is written where it is now');
  }
});

t.test('a disk that is one file system grows, too; what cannot grow is refused', async (t) => {
  const one = makeRig(t);
  makeImage(one.image, FILES);
  truncateSync(one.image, 2_000 * MIB + 512);
  await one.disk.grow(one.guest, NEVER);
  t.equal(statSync(one.image).size, 2_000 * MIB + 512);
  t.ok(isClean(one.image));
  t.match(
    execFileSync('dumpe2fs', ['-h', one.image], { stdio: ['ignore', 'pipe', 'ignore'] }).toString(),
    /Block count: +(512000|2048000)\n/,
  );
  t.equal(readInImage(one.image, '/etc/hostname'), 'domU\n');

  const first = makeRig(t, undefined, "root = '/dev/xvda1 ro'");
  makeWholeDisk(first.image, 48, 'label: dos\nsize=30M,type=83\ntype=82\n', { 1: FILES });
  truncateSync(first.image, 100 * MIB);
  const before = readFileSync(first.image);
  await t.rejects(first.disk.grow(first.guest, NEVER), {
    code: 'invalid',
    message: /another one begins after/,
    details: { hint: /--disk/ },
  });
  const logical = makeRig(t, undefined, "root = '/dev/xvda5'");
  makeWholeDisk(logical.image, 48, 'label: dos\ntype=5\ntype=83\n', { 5: FILES });
  await t.rejects(logical.disk.grow(logical.guest, NEVER), { code: 'invalid', message: /logical/ });
  t.ok(before.equals(readFileSync(first.image)), 'it is as it was');
  const xfs = makeRig(t);
  writeFileSync(xfs.image, Buffer.concat([Buffer.from('XFSB'), Buffer.alloc(MIB)]));
  await t.rejects(xfs.disk.grow(xfs.guest, NEVER), { code: 'invalid', message: /XFS/ });
});

t.test('block devices: whole disks and logical volumes', async (t) => {
  const { image } = makeRig(t);
  const parts = makeWholeDisk(image, 48, GPT, { 3: FILES });
  const { at, sizeBytes } = parts.get(3)!;
  const whole = attach(t, image);
  const onWhole = makeRig(t, whole);
  await (await onWhole.disk.write(onWhole.guest, SETTINGS, NEVER)).keep();
  t.equal(await addressOf(onWhole.disk, onWhole.guest), '10.180.0.7');
  const volume = attach(t, image, '--offset', String(at), '--sizelimit', String(sizeBytes));
  const onVolume = makeRig(t, volume, "root = '/dev/xvda2'", 'xvda2');
  t.equal(await addressOf(onVolume.disk, onVolume.guest), '10.180.0.7', 'what was written is there');
  await onVolume.disk.renew(onVolume.guest, { authorizedKeys: [KEY] }, NEVER);
  t.equal(readInImage(volume, '/root/.ssh/authorized_keys'), `${KEY}\n`);
  t.ok(isClean(volume));
  await onVolume.disk.grow(onVolume.guest, NEVER);
  t.ok(isClean(volume), 'a device tells its length otherwise than a file');
});

t.test('what cannot be a root is refused with what is there', async (t) => {
  const cases = [
    { script: GPT, put: undefined, lines: "root = '/dev/xvda7'", message: /root is partition 7 of .*has: 1, 2, 3$/ },
    { script: GPT, put: undefined, lines: '', message: /No partition of .*1 holds nothing, 2 holds nothing, 3 holds/ },
    { script: GPT, put: 'LABELONE', lines: '', message: /3 holds LVM inside/ },
    { script: GPT, put: 'XFSB', lines: "root = '/dev/xvda3'", message: /Partition 3 of .*3 holds an XFS/ },
  ];
  for (const { script, put, lines, message } of cases) {
    const { image, disk, guest } = makeRig(t, undefined, lines);
    const parts = makeWholeDisk(image, 48, script, {});
    const bytes = readFileSync(image);
    if (put !== undefined) bytes.write(put, parts.get(3)!.at, 'latin1');
    writeFileSync(image, bytes);
    await t.rejects(disk.write(guest, SETTINGS, NEVER), { code: 'invalid', message, details: { hint: /./ } });
    t.equal(await disk.read(guest), undefined);
  }
  const two = makeRig(t);
  makeWholeDisk(two.image, 64, 'label: gpt\nsize=20M\nsize=20M\n', { 1: { '/a': '' }, 2: { '/b': '' } });
  await t.rejects(two.disk.write(two.guest, SETTINGS, NEVER), { message: /1 has no \/etc, 2 has no \/etc/ });
  const torn = makeRig(t);
  makeWholeDisk(torn.image, 48, GPT, { 3: FILES });
  truncateSync(torn.image, 30 * MIB);
  await t.rejects(torn.disk.write(torn.guest, SETTINGS, NEVER), { code: 'wrong_state', message: /beyond the end/ });
  const short = makeRig(t);
  makeImage(short.image, FILES);
  truncateSync(short.image, 20 * MIB);
  await t.rejects(short.disk.write(short.guest, SETTINGS, NEVER), { code: 'wrong_state', message: /longer than that/ });
  const odd = makeRig(t, '/srv/a?b');
  await t.rejects(odd.disk.write(odd.guest, SETTINGS, NEVER), { code: 'invalid', message: /question mark/ });
});

t.test('whoever uses a partition uses its disk, and the other way round', async (t) => {
  const { image } = makeRig(t);
  writeFileSync(image, Buffer.alloc(MIB));
  const device = attach(t, image);
  const { rdev } = statSync(device);
  const number = `${String(Math.floor(rdev / 256))}:${String(rdev % 256)}`;
  const tree = (holders: Parameters<typeof t.testdir>[0] = {}): string =>
    t.testdir({
      sys: {
        block: {},
        devices: { disk: { disk1: { partition: '1\n', dev: '259:7\n' }, queue: {} } },
        dev: { block: { [number]: t.fixture('symlink', '../../devices/disk'), '259:7': holders } },
      },
      proc: { self: { mountinfo: '' } },
    });
  const userIn = (root: string) => new KernelDiskUse(join(root, 'sys'), join(root, 'proc')).userOf(device);
  t.equal(await userIn(tree({ holders: { 'dm-3': {} } })), '/dev/dm-3', 'LVM in its partition');
  t.equal(await userIn(tree()), undefined);
  const mounted = tree();
  writeFileSync(join(mounted, 'proc', 'self', 'mountinfo'), '36 35 259:7 / /mnt rw - ext4 /dev/disk1 rw\n');
  t.equal(await userIn(mounted), 'the mount on /mnt');
  const part = t.testdir({
    sys: {
      block: {},
      devices: { disk: { dev: '8:0\n', disk1: { partition: '1\n', dev: `${number}\n` } } },
      dev: { block: { [number]: t.fixture('symlink', '../../devices/disk/disk1'), '8:0': { holders: { md0: {} } } } },
    },
    proc: {},
  });
  t.equal(await userIn(part), '/dev/md0', 'its disk is a part of a RAID');
});
