import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  createReadStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { pino } from 'pino';
import t, { type Test } from 'tap';
import { DirRecordStore } from '../../agent/adapters/disk/dir-record-store.js';
import { HostDiskStore } from '../../agent/adapters/disk/host-disk-store.js';
import { RecordCopyLog } from '../../agent/adapters/disk/record-copy-log.js';
import { RecordFormerCfgs } from '../../agent/adapters/disk/record-former-cfgs.js';
import { KernelDiskUse } from '../../agent/adapters/guest/disk-use.js';
import { SeedGuestDisk } from '../../agent/adapters/guest/seed-guest-disk.js';
import { SeedTools } from '../../agent/adapters/guest/seed-tools.js';
import { FeedHostImages } from '../../agent/adapters/image/feed-host-images.js';
import { Dom0BootFiles } from '../../agent/adapters/xl/dom0-boot-files.js';
import type { MakeSettings } from '../../agent/domain/image/image-plan.js';
import { parseQcow2Header } from '../../agent/domain/qcow2-header.js';
import type { Installer } from '../../agent/ports/installer.js';
import type { ImageFeed } from '../../agent/ports/image-feed.js';
import { VmImager } from '../../agent/services/vm-imager.js';
import { VmMaker } from '../../agent/services/vm-maker.js';
import type { ImageSource } from '../../shared/domain/make-source.js';
import type { VmShape } from '../../shared/domain/vm-shape.js';
import { parseSha256, type Sha256 } from '../../shared/domain/sha256.js';
import { AppError } from '../../shared/errors.js';
import { createExec, type Exec } from '../../shared/exec.js';
import { ManualClock } from '../unit/agent/manual-clock.js';
import { makeConfigureRig, settingsOf, stoppedVm } from '../harness/configure-rig.js';
import { until } from '../harness/fleet-cli.js';
import { FakeLvm } from '../fakes/fake-lvm.js';
import { DEBIAN, fsBytes, isClean, makeImage, readInImage } from '../harness/guest-image.js';

const LOG = pino({ level: 'silent' });
const NEVER = new AbortController().signal;
const MIB = 1024 * 1024;
const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIN0WJ3jF4H2fh25LEqPFlG2j4OtErQT374Feclz/E6Yl me@frontend';
const GUEST = {
  ...DEBIAN,
  '/etc/ssh/ssh_host_ed25519_key': { text: 'an old key\n', mode: 0o600 },
  '/etc/ssh/ssh_host_ed25519_key.pub': 'ssh-ed25519 old root@image\n',
};

const run = (...[program = '', ...args]: readonly string[]): Buffer => execFileSync(program, args, { stdio: 'pipe' });

function blank(path: string, bytes: number): string {
  writeFileSync(path, '');
  truncateSync(path, bytes);
  return path;
}

/** A whole disk whose second partition is the file system of `root`. */
function makeDisk(path: string, root: string, label: 'dos' | 'gpt'): void {
  const sectors = statSync(root).size / 512;
  blank(path, statSync(root).size + 8 * MIB);
  const input = `2048,2048\n8192,${String(sectors)}\n`;
  execFileSync('sfdisk', ['-q', '--label', label, path], { input, stdio: 'pipe' });
  run('dd', `if=${root}`, `of=${path}`, 'bs=512', 'seek=8192', 'conv=notrunc,sparse', 'status=none');
}

/** What the controller would send, by hash. */
class FileFeed implements ImageFeed {
  readonly files = new Map<Sha256, string>();
  reads = 0;

  add(path: string): ImageSource {
    const bytes = readFileSync(path);
    const sha256 = parseSha256(createHash('sha256').update(bytes).digest('hex'));
    this.files.set(sha256, path);
    return { kind: 'image', sha256, sizeBytes: bytes.length, name: path.split('/').at(-1) ?? '', isCloud: undefined };
  }

  async *read(sha256: Sha256): AsyncGenerator<Uint8Array> {
    this.reads++;
    const path = this.files.get(sha256);
    if (path === undefined) throw new AppError('unavailable', 'The link broke off');
    for await (const bytes of createReadStream(path)) yield bytes as Buffer;
  }
}

const noInstaller: Installer = {
  install: () => Promise.reject(new AppError('internal', 'nothing is installed here')),
  clear: () => Promise.resolve(),
};

/** A dom0 without VMs, on real disks. */
function makeDom0(t: Test, exec: Exec = createExec(process.env)) {
  const root = t.testdir({ xen: {}, boot: {}, usr: { lib: { 'xen-4.17': { bin: {} }, 'grub-xen': {} } }, domains: {} });
  const other = `name='other'\ndisk=['file:${root}/domains/other/disk.img,xvda2,w']\n`;
  writeFileSync(join(root, 'xen/other.cfg'), other);
  const rig = makeConfigureRig(root, exec, undefined, (files) => {
    return new SeedGuestDisk({
      ...{ files, use: new KernelDiskUse(), tools: new SeedTools(exec, join(root, 'work')) },
      changes: new DirRecordStore(join(root, 'seed-changes')),
      originals: new DirRecordStore(join(root, 'seed-originals')),
    });
  });
  const { cfgFolder, guestDisk } = rig;
  const copies = new RecordCopyLog(new DirRecordStore(join(root, 'copies')));
  const formerCfgs = new RecordFormerCfgs(rig.originals);
  const disks = new HostDiskStore(exec, undefined, []);
  const maker = new VmMaker({
    autostart: { set: () => Promise.resolve() },
    ...{ cfgFolder, guestDisk, formerCfgs, copies, disks },
    log: LOG,
  });
  const feed = new FileFeed();
  const clock = new ManualClock();
  const images = new FeedHostImages({ feed, exec, clock, log: LOG, folder: join(root, 'images') });
  const seeds = new SeedTools(exec, join(root, 'work'));
  const bootFiles = new Dom0BootFiles(root, '6.1.0');
  const imager = new VmImager(
    { cfgFolder, disks, images, installer: noInstaller, bootFiles, seeds, bridges: rig.bridges },
    maker,
  );
  const told: string[] = [];
  const pathOf = (name: string): string => join(root, 'xen', `${name}.cfg`);
  const make = (name: string, source: MakeSettings['source'], shape: VmShape = {}) =>
    imager.make(pathOf(name), { name, uuid: `uuid-${name}`, shape, source }, (message) => told.push(message), NEVER);
  const cfgOf = (name: string): string => readFileSync(pathOf(name), 'utf8');
  const diskOf = (name: string, file = 'disk.img'): string => join(root, 'domains', name, file);
  const install = (path: string): void => writeFileSync(join(root, path), '');
  return { root, rig, maker, imager, feed, images, clock, told, make, cfgOf, diskOf, install, pathOf };
}

t.test('one file system, packed in every way', async (t) => {
  const dom0 = makeDom0(t);
  const { root, feed, diskOf } = dom0;
  dom0.install('boot/vmlinuz-6.1.0');
  dom0.install('boot/initrd.img-6.1.0');
  const image = join(root, 'root.img');
  makeImage(image, GUEST, { size: '32M' });
  writeFileSync(`${image}.gz`, gzipSync(readFileSync(image)));
  run('zstd', '-q', image, '-o', `${image}.zst`);
  run('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', image, join(root, 'root.qcow2'));
  writeFileSync(join(root, 'root.qcow2.gz'), gzipSync(readFileSync(join(root, 'root.qcow2'))));
  for (const [n, file] of ['root.img', 'root.img.gz', 'root.img.zst', 'root.qcow2', 'root.qcow2.gz'].entries()) {
    const name = `vm-${n}`;
    await dom0.make(name, feed.add(join(root, file)), { authorizedKeys: [KEY] });
    const disk = diskOf(name);
    t.ok(isClean(disk), file);
    t.equal(statSync(disk).size, 32 * MIB);
    t.ok(statSync(disk).blocks * 512 < 16 * MIB, 'with its holes');
    t.match(readInImage(disk, '/etc/ssh/ssh_host_ed25519_key.pub'), new RegExp(`root@${name}`), 'a key of its own');
    t.ok(readInImage(disk, '/root/.ssh/authorized_keys').includes(KEY));
    await dom0.rig.configurer.configure({ ...stoppedVm(dom0.pathOf(name)), name }, settingsOf(n), () => 0, NEVER);
    t.match(readInImage(disk, '/etc/network/interfaces'), new RegExp(`address 10.180.0.${n}\n`));
  }
  t.equal(
    dom0.cfgOf('vm-0'),
    `# Made by domherd; yours to edit.
name        = 'vm-0'
uuid        = 'uuid-vm-0'
type        = 'pv'
memory      = 512
vcpus       = 1
kernel      = '/boot/vmlinuz-6.1.0'
ramdisk     = '/boot/initrd.img-6.1.0'
root        = '/dev/xvda2 ro'
disk        = [
    'format=raw, vdev=xvda2, access=rw, target=${diskOf('vm-0')}',
]
vif         = [
    'mac=00:16:3e:b4:00:00',
]
on_poweroff = 'destroy'
on_reboot   = 'restart'
on_crash    = 'restart'
`,
  );
  t.ok(dom0.told.includes('boots by kernel /boot/vmlinuz-6.1.0: it is what dom0 itself runs'));
  t.ok(dom0.told.includes('nothing for cloud-init: it is not in the image'));

  t.equal(feed.reads, 5);
  await dom0.make('again', feed.add(image), { swapMib: 8, extraDisksMib: [4, 4], extraVifs: ['br1'], diskMib: 48 });
  t.equal(feed.reads, 5, 'an image that was used a moment ago is not sent again');
  t.match(
    dom0.cfgOf('again'),
    /xvda2,[^]*xvda1,[^]*again\/swap.img[^]*xvdc,[^]*xvdd,[^]*vif += \[\n +'',\n +'bridge=br1'/,
  );
  t.strictSame(readdirSync(join(root, 'domains/again')), ['c.img', 'd.img', 'disk.img', 'swap.img']);
  t.equal(statSync(diskOf('again')).size, 48 * MIB);
  t.ok(readdirSync(join(root, 'images')).length > 0);
  await dom0.clock.advance(600_000);
  await until(() => readdirSync(join(root, 'images')).length === 0, 'the images are gone: not kept for ever');
  t.strictSame(await dom0.make('vm-0', { ...feed.add(image), sizeBytes: 1 }), [], 'one that is there is done');
  t.equal(feed.reads, 5);
  await dom0.maker.remove({ ...stoppedVm(dom0.pathOf('again')), name: 'again' });
  t.notOk(existsSync(join(root, 'domains/again')));
});

t.test('disks that are thin volumes, or qcow2 images', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'dh-image-'));
  const lvm = new FakeLvm(createExec(process.env), folder, `domherd${String(process.pid)}`);
  t.teardown(() => {
    lvm.close();
    rmSync(folder, { recursive: true });
  });
  const dom0 = makeDom0(t, lvm);
  const { root, feed, diskOf, cfgOf, pathOf } = dom0;
  dom0.install('boot/vmlinuz-6.1.0');
  const image = join(root, 'root.img');
  makeImage(image, GUEST, { size: '24M' });
  const shape = { swapMib: 8, extraDisksMib: [4], diskMib: 40 };
  const remove = (name: string) => dom0.maker.remove({ ...stoppedVm(pathOf(name)), name });
  await t.rejects(dom0.make('thin', feed.add(image), { storage: 'lvm-thin' }), { code: 'exhausted' });
  t.equal(feed.reads, 0, 'what cannot be is not fetched');
  lvm.add({ name: 'pool', type: 'thin-pool', sizeBytes: 1024 * MIB, dataPercent: 95 });
  await t.rejects(dom0.make('thin', feed.add(image), { storage: 'lvm-thin' }), {
    code: 'exhausted',
    message: /no room/,
  });
  t.notOk(existsSync(pathOf('thin')));
  lvm.volumes.set('pool', { name: 'pool', type: 'thin-pool', sizeBytes: 1024 * MIB });
  await dom0.make('thin', feed.add(image), { ...shape, storage: 'lvm-thin' });
  const volumes = ['xvda2', 'xvda1', 'xvdc'].map((vdev) => `thin-${vdev}`);
  for (const volume of volumes) {
    t.match(lvm.volumes.get(volume), { type: 'thin', pool: 'pool', tag: 'domherd' }, volume);
    t.match(cfgOf('thin'), new RegExp(`target=/dev/${lvm.group}/${volume}'`));
  }
  const device = lvm.deviceOf('thin-xvda2');
  t.ok(isClean(device));
  t.equal(fsBytes(device), 40 * MIB, 'grown, with its file system');
  t.match(readInImage(device, '/etc/ssh/ssh_host_ed25519_key.pub'), /root@thin/);
  t.notOk(existsSync(join(root, 'domains/thin')));
  await remove('thin');
  t.strictSame([...lvm.volumes.keys()], ['pool']);

  await dom0.make('q', { ...feed.add(image), isCloud: true }, { ...shape, storage: 'qcow2' });
  t.strictSame(readdirSync(join(root, 'domains/q')), ['c.img', 'disk.qcow2', 'seed.img', 'swap.img']);
  t.match(cfgOf('q'), `'format=qcow2,vdev=xvda2,access=w,target=${diskOf('q', 'disk.qcow2')}'`);
  t.match(cfgOf('q'), /format=raw, vdev=xvdz,[^\n]*seed\.img/);
  t.strictSame(parseQcow2Header(readFileSync(diskOf('q', 'disk.qcow2')), 'q'), {
    ...{ sizeBytes: 40 * MIB, backingFile: undefined, backingFormat: undefined },
  });
  await dom0.make('own', feed.add(image), { ...shape, storage: 'qcow2' });
  const seen = join(root, 'seen.img');
  run('qemu-img', 'convert', '-f', 'qcow2', '-O', 'raw', diskOf('own', 'disk.qcow2'), seen);
  t.ok(isClean(seen));
  t.equal(fsBytes(seen), 40 * MIB);
  for (const name of ['q', 'own']) await remove(name);
  t.notOk(existsSync(join(root, 'domains/q')) || existsSync(join(root, 'domains/own')));
});

t.test('whole disks, and what boots them', async (t) => {
  const dom0 = makeDom0(t);
  const { root, feed } = dom0;
  const fs = join(root, 'root.img');
  makeImage(fs, { ...GUEST, '/etc/cloud/cloud.cfg': 'datasource_list: [NoCloud]\n' }, { size: '16M' });
  const plain = join(root, 'plain.img');
  makeImage(plain, GUEST, { size: '16M' });
  for (const label of ['dos', 'gpt'] as const) makeDisk(join(root, `${label}.img`), fs, label);
  const gpt = feed.add(join(root, 'gpt.img'));
  await t.rejects(dom0.make('none', gpt), { code: 'wrong_state', details: { hint: /grub-xen-host/ } });
  await t.rejects(dom0.make('none', feed.add(plain)), { code: 'wrong_state', details: { hint: /--kernel/ } });
  dom0.install('usr/lib/xen-4.17/bin/pygrub');
  await dom0.make('by-pygrub', gpt);
  t.match(dom0.cfgOf('by-pygrub'), /^bootloader += 'pygrub'\n[^]*vdev=xvda,[^]*vdev=xvdz,.*\/seed.img/m);
  t.ok(dom0.told.includes('a seed for cloud-init: it is in the image'));
  t.ok(dom0.told.some((text) => /^boots by pygrub: the image is a whole disk, and grub-xen-host is not/.test(text)));
  dom0.install('usr/lib/grub-xen/grub-x86_64-xen.bin');
  await dom0.make('by-pvgrub', feed.add(join(root, 'dos.img')));
  t.match(dom0.cfgOf('by-pvgrub'), /^kernel += '\/usr\/lib\/grub-xen\/grub-x86_64-xen.bin'$/m);
  dom0.install('boot/mine');
  const boot = { kind: 'direct', kernel: '/boot/mine', cmdline: 'root=LABEL=x quiet' } as const;
  await dom0.make('mine', gpt, { boot });
  t.match(dom0.cfgOf('mine'), /^kernel += '\/boot\/mine'\nextra += 'root=LABEL=x quiet'\ndisk/m, 'no root= of ours');
  await dom0.make('mine-2', gpt, { boot: { ...boot, cmdline: undefined } });
  t.match(dom0.cfgOf('mine-2'), /^root += '\/dev\/xvda1 ro'$/m);
  await dom0.make('grub', feed.add(plain), { boot: { kind: 'bootloader', bootloader: 'pygrub' } });
  t.match(dom0.cfgOf('grub'), /^bootloader += 'pygrub'$/m);
  const off = { ...feed.add(fs), isCloud: false };
  await dom0.make('off', off, { boot: { kind: 'bootloader', bootloader: 'pygrub' } });
  t.notMatch(dom0.cfgOf('off'), /xvdz/);

  const kernel = '/boot/none';
  await t.rejects(dom0.make('x', gpt, { boot: { kind: 'direct', kernel } }), {
    code: 'wrong_state',
    message: /has no \/boot\/none/,
  });
  await t.rejects(dom0.make('x', gpt, { storage: 'lvm-thin' }), { code: 'exhausted', message: /no thin pool/ });
  await t.rejects(dom0.make('x', gpt, { storage: 'lvm-snapshot' }), {
    code: 'invalid',
    message: /nothing to snapshot/,
  });
  t.strictSame(await dom0.rig.cfgFolder.list().then((all) => all.some(({ path }) => path.endsWith('/x.cfg'))), false);
  t.notOk(existsSync(join(root, 'domains/x')), 'nothing is left of what failed');
});

t.test('what the domUs of the host boot with is what others boot with', async (t) => {
  const dom0 = makeDom0(t);
  makeImage(join(dom0.root, 'root.img'), GUEST);
  dom0.install('boot/vmlinuz-6.1.0');
  dom0.install('boot/domU-kernel');
  const cfg = `name='domU'\nkernel='/boot/domU-kernel'\ndisk=['file:/nowhere/domU/disk.img,xvda2,w']\n`;
  writeFileSync(dom0.pathOf('domU'), cfg);
  writeFileSync(dom0.pathOf('broken'), 'name = (\n');
  writeFileSync(dom0.pathOf('gone'), `name='gone'\nkernel='/boot/is-gone'\n`);
  writeFileSync(
    dom0.pathOf('other'),
    `name='other'\nkernel='/boot/is-gone'\ndisk=['file:${dom0.root}/domains/other/disk.img,xvda2,w']\n`,
  );
  await dom0.make('web', dom0.feed.add(join(dom0.root, 'root.img'))).catch(() => undefined);
  t.ok(dom0.told.includes('boots by kernel /boot/domU-kernel: it is what domU boots with'));
});

t.test('images that are none, break off, or need a program', async (t) => {
  const real = createExec(process.env);
  const missing = new Set<string>();
  const exec: Exec = {
    run: (argv, options) =>
      missing.has(argv[0]) ? real.run([`/nonexistent/${argv[0]}`], options) : real.run(argv, options),
  };
  const dom0 = makeDom0(t, exec);
  const { root, feed } = dom0;
  dom0.install('boot/vmlinuz-6.1.0');
  const at = (name: string): string => join(root, name);
  makeImage(at('root.img'), GUEST);
  run('zstd', '-q', at('root.img'), '-o', at('root.zst'));
  run('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', at('root.img'), at('root.qcow2'));
  run('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', at('root.img'), '-F', 'raw', at('linked.qcow2'));
  writeFileSync(at('twice.gz'), gzipSync(gzipSync(readFileSync(at('root.img')))));
  writeFileSync(at('cut.gz'), gzipSync(readFileSync(at('root.img'))).subarray(0, 2000));
  writeFileSync(at('text'), 'hello');
  run('mkfs.xfs', '-q', blank(at('root.xfs'), 320 * MIB));
  for (const [file, error] of [
    ['linked.qcow2', { code: 'invalid', message: /backing file/ }],
    ['twice.gz', { code: 'invalid', message: /more than once/ }],
    ['cut.gz', { code: 'invalid', message: /unexpected end of file/ }],
    ['text', { code: 'invalid', message: /neither a file system nor a disk/ }],
    ['root.xfs', { code: 'invalid', details: { hint: /--cloud-init/ } }],
  ] as const) {
    await t.rejects(dom0.make('x', feed.add(at(file))), error, file);
  }
  const source = feed.add(at('root.img'));
  await t.rejects(dom0.make('x', { ...source, sha256: parseSha256('0'.repeat(64)) }), { message: /link broke off/ });
  feed.files.set(source.sha256, at('text'));
  await t.rejects(dom0.make('x', source), { code: 'invalid', message: /came with the SHA-256/ });
  feed.add(at('root.img'));
  missing.add('zstd').add('qemu-img').add('mkfs.vfat');
  for (const [file, hint] of [
    ['root.zst', /apt-get install zstd,/],
    ['root.qcow2', /apt-get install qemu-utils,/],
  ] as const) {
    await t.rejects(dom0.make('x', feed.add(at(file))), { code: 'unavailable', details: { hint } }, file);
  }
  const seeded = dom0.make('x', { ...source, isCloud: true });
  await t.rejects(seeded, { code: 'unavailable', details: { hint: /apt-get install dosfstools,/ } });
  missing.clear();
  missing.add('mcopy');
  const filled = dom0.make('x', { ...source, isCloud: true });
  await t.rejects(filled, { code: 'unavailable', details: { hint: /apt-get install mtools,/ } });
  t.strictSame(readdirSync(join(root, 'work')), [], 'nothing is left of what was tried');
  t.strictSame(readdirSync(join(root, 'domains')), []);
  await dom0.clock.advance(600_000);
  await until(() => readdirSync(join(root, 'images')).length === 0, 'the images are gone');
  mkdirSync(join(root, 'images/left'), { recursive: true });
  await dom0.imager.recover();
  t.notOk(existsSync(join(root, 'images')), 'nor after a death');
});
