import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, statfsSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import t, { type Test } from 'tap';
import { DirAutostart } from '../../agent/adapters/disk/dir-autostart.js';
import { DirRecordStore } from '../../agent/adapters/disk/dir-record-store.js';
import { HostDiskStore } from '../../agent/adapters/disk/host-disk-store.js';
import { parseGroups, parseVolumes } from '../../agent/adapters/disk/lvm-report.js';
import { SystemStores } from '../../agent/adapters/disk/system-stores.js';
import { RecordCopyLog } from '../../agent/adapters/disk/record-copy-log.js';
import { RecordFormerCfgs } from '../../agent/adapters/disk/record-former-cfgs.js';
import { mountOf, parseMountinfo, storeNameOf } from '../../agent/domain/host-store.js';
import type { DiskSource, KeptAs, StoredDisk } from '../../agent/domain/new-disk.js';
import { parseQcow2Header } from '../../agent/domain/qcow2-header.js';
import { chooseStorage, type DiskKind, type StorageFacts } from '../../agent/domain/storage-choice.js';
import { listDisks } from '../../agent/domain/xl-cfg/disk.js';
import { parseXlCfg } from '../../agent/domain/xl-cfg/xl-cfg.js';
import type { GuestDisk } from '../../agent/ports/guest-disk.js';
import { VmMaker } from '../../agent/services/vm-maker.js';
import type { Storage } from '../../shared/domain/vm-shape.js';
import { createExec } from '../../shared/exec.js';
import { FakeLvm } from '../fakes/fake-lvm.js';
import { makeConfigureRig, settingsOf, stoppedVm } from '../harness/configure-rig.js';
import { makeCopier } from '../harness/copier.js';
import { DEBIAN, isClean, makeImage, readInImage } from '../harness/guest-image.js';

const MIB = 1024 * 1024;
const NEVER = new AbortController().signal;
const EXEC = createExec(process.env);

t.test('how the copy of a disk is kept', (t) => {
  const file: DiskKind = { kind: 'file', canReflink: false };
  const shared: DiskKind = { kind: 'file', canReflink: true };
  const volume: DiskKind = { kind: 'volume', group: 'vg0', name: 'domU-disk', pool: undefined };
  const thin: DiskKind = { ...volume, pool: 'pool' };
  const groups = [
    { name: 'vg0', freeBytes: 10, pools: [{ name: 'pool', freeBytes: 5 }] },
    { name: 'vg1', freeBytes: 20, pools: [] },
  ];
  const choose = (
    kind: DiskKind | undefined,
    wanted?: Storage,
    more: Partial<StorageFacts & { isGrown: boolean; spec: string }> = {},
  ) => {
    const target = kind?.kind === 'volume' ? '/dev/vg0/domU-disk' : '/srv/domU/disk.img';
    const spec = more.spec ?? `phy:${target},xvda2,w`;
    const [disk] = listDisks(parseXlCfg(`disk=['${spec}']\n`));
    if (disk === undefined) throw new Error('no disk');
    const disks = new Map(kind === undefined ? [] : [[disk.target, kind]]);
    const facts = { disks, groups, swaps: new Set<string>(), overlayRefusal: undefined, ...more };
    return chooseStorage({ disk, fromVm: 'domU', toVm: 'web:1', isGrown: more.isGrown ?? false }, wanted, facts);
  };
  const cases: readonly (readonly [string, DiskKind, Storage | undefined, KeptAs, string, RegExp])[] = [
    ['a file', file, undefined, 'copy', '/srv/web:1/disk.img', /the file system of \/srv\/domU cannot share blocks/],
    ['a file that can be shared', shared, undefined, 'reflink', '/srv/web:1/disk.img', /can share blocks/],
    ['a copy all the same', shared, 'copy', 'copy', '/srv/web:1/disk.img', /as asked/],
    ['a reflink', shared, 'reflink', 'reflink', '/srv/web:1/disk.img', /as asked/],
    ['an overlay', file, 'qcow2', 'qcow2', '/srv/web:1/disk.img', /domU is neither started, written nor deleted/],
    ['a file into LVM', file, 'lvm-snapshot', 'lvm', '/dev/vg1/web_1-disk', /is a file/],
    ['a file into a thin pool', file, 'lvm-thin', 'lvm-thin', '/dev/vg0/web_1-disk', /thin volume of its own/],
    ['a volume', volume, undefined, 'lvm-snapshot', '/dev/vg0/web_1-disk', /is a logical volume/],
    ['a volume, copied', volume, 'copy', 'lvm', '/dev/vg0/web_1-disk', /as asked/],
    ['a thin volume', thin, undefined, 'lvm-thin', '/dev/vg0/web_1-disk', /in the thin pool pool/],
    ['a snapshot of a thin volume', thin, 'lvm-snapshot', 'lvm-thin', '/dev/vg0/web_1-disk', /thin snapshot/],
  ];
  for (const [name, kind, wanted, storage, path, reason] of cases) {
    const { place, reason: said } = choose(kind, wanted);
    t.match({ ...place, said }, { storage, path, said: reason }, name);
  }
  t.equal(choose(file, 'qcow2').place.origin, '/srv/domU/disk.img');
  t.equal(choose(file, 'qcow2').format, 'qcow2');
  t.equal(choose(volume).place.origin, '/dev/vg0/domU-disk');
  t.equal(choose(thin).place.origin, undefined, 'a thin snapshot lives without its origin');
  t.equal(choose(thin).place.pool, 'vg0/pool');
  t.equal(choose(volume, undefined, { isGrown: true }).place.storage, 'lvm', 'a snapshot cannot grow');
  const overlay: DiskKind = { kind: 'file', canReflink: false, backingFile: '/srv/base.img' };
  const qcow2 = { spec: 'qcow2:/srv/domU/disk.img,xvda2,w' };
  t.equal(choose(overlay, undefined, qcow2).place.origin, '/srv/base.img', 'the copy of an overlay is one');

  const overlayRefusal = { why: 'the host lacks qemu-img', hint: 'apt-get install qemu-utils, on the host' };
  const refusals: readonly (readonly [RegExp, () => unknown, string?])[] = [
    [/cannot be a reflink: the file system of \/srv\/domU cannot share blocks/, () => choose(file, 'reflink')],
    [/cannot have an overlay: the host lacks qemu-img/, () => choose(file, 'qcow2', { overlayRefusal })],
    [/cannot be kept as qcow2: it is a logical volume/, () => choose(volume, 'qcow2')],
    [/cannot be kept as reflink: it is a logical volume/, () => choose(thin, 'reflink')],
    [/is in no thin pool/, () => choose(volume, 'lvm-thin')],
    [/cannot be a snapshot and grow/, () => choose(volume, 'lvm-snapshot', { isGrown: true })],
    [/neither an image file nor a logical volume/, () => choose({ kind: 'device' })],
    [/no raw image: vhd/, () => choose(file, undefined, { spec: 'vhd:/srv/domU/disk.img,xvda2,w' })],
    [/no raw image: block-nbd/, () => choose(file, undefined, { spec: 'nbd:/srv/domU/disk.img,xvda2,w' })],
    [/is a qcow2 image: volumes are made of raw ones/, () => choose(file, 'lvm-thin', qcow2)],
    [/no absolute path/, () => choose({ ...overlay, backingFile: 'base.img' }, undefined, qcow2)],
    [/the host has no volume group/, () => choose(file, 'lvm-snapshot', { groups: [] }), 'exhausted'],
    [/the host has no thin pool/, () => choose(file, 'lvm-thin', { groups: [] }), 'exhausted'],
    [/There is no disk/, () => choose(undefined), 'not_found'],
  ];
  for (const [message, refuse, code = 'invalid'] of refusals) t.throws(refuse, { code, message }, String(message));
  t.end();
});

t.test('what LVM says', (t) => {
  // Of lvm2 2.03.16, with the metadata of a group whose volumes are not active.
  const vgs = `
  {
      "report": [
          {
              "vg": [
                  {"vg_name":"vgtest", "vg_size":"624951296", "vg_free":"520093696"}
              ]
          }
      ]
  }
`;
  t.strictSame(parseGroups(vgs), [{ name: 'vgtest', sizeBytes: 624951296, freeBytes: 520093696 }]);
  const row = {
    ...{ vg_name: 'vg', lv_name: 'a', lv_path: '/dev/vg/a', lv_dm_path: '/dev/mapper/vg-a', lv_size: '4194304' },
    ...{
      segtype: 'thin',
      pool_lv: 'pool',
      origin: '',
      data_percent: '12.50',
      metadata_percent: '',
      lv_tags: 'x,domherd',
    },
  };
  const names = { lv_name: 's', lv_path: '/dev/vg/s', lv_dm_path: '/dev/mapper/vg-s', lv_tags: '' };
  // lvs tells what its changes are kept in.
  const snapshot = { ...row, ...names, lv_size: '8388608', segtype: 'linear', pool_lv: '', origin: 'a' };
  const text = JSON.stringify({ report: [{ lv: [row, row, snapshot] }], log: [] });
  t.strictSame(parseVolumes(text), [
    {
      ...{ group: 'vg', name: 'a', type: 'thin', sizeBytes: 4194304, pool: 'pool', origin: undefined },
      ...{ paths: ['/dev/vg/a', '/dev/mapper/vg-a'], dataPercent: 12.5, metadataPercent: undefined },
      ...{ changeBytes: undefined, tags: ['x', 'domherd'] },
    },
    {
      ...{ group: 'vg', name: 's', type: 'snapshot', sizeBytes: 4194304, pool: undefined, origin: 'a' },
      ...{ paths: ['/dev/vg/s', '/dev/mapper/vg-s'], dataPercent: 12.5, metadataPercent: undefined },
      ...{ changeBytes: 8388608, tags: [] },
    },
  ]);
  for (const broken of ['', 'WARNING', '{"report":[{"vg":[{}]}]}']) {
    t.throws(() => parseGroups(broken), { code: 'unavailable', details: { output: broken } });
  }
  t.end();
});

t.test('logical volumes', async (t) => {
  const root = t.testdir({});
  const lvm = new FakeLvm(EXEC, root);
  t.teardown(() => lvm.close());
  const store = new HostDiskStore(lvm);
  const image = join(root, 'a.img');
  writeFileSync(image, Buffer.alloc(3 * MIB, 'x'));
  const make = (source: DiskSource, place: StoredDisk, sizeBytes?: number) =>
    store.make({ source, place, sizeBytes }, NEVER);
  const bytesOf = (name: string) => readFileSync(lvm.deviceOf(name));
  const raw = { kind: 'copy', path: image, format: 'raw' } as const;

  await make(raw, { path: '/dev/vg0/web-1', storage: 'lvm' });
  t.ok(bytesOf('web-1').equals(Buffer.concat([readFileSync(image), Buffer.alloc(MIB)])), 'nothing of others behind it');
  t.strictSame(await store.find('/dev/mapper/vg0-web--1'), { sizeBytes: 4 * MIB, usedBytes: 4 * MIB });
  await t.rejects(make(raw, { path: '/dev/vg0/web-1', storage: 'lvm' }), { code: 'already_exists' });
  await make({ kind: 'swap', bytes: 4 * MIB }, { path: '/dev/vg0/swap-1', storage: 'lvm' });
  t.equal(bytesOf('swap-1').subarray(4086, 4096).toString(), 'SWAPSPACE2');
  t.ok(
    bytesOf('swap-1')
      .subarray(8192)
      .every((byte) => byte === 0),
  );

  await make({ ...raw, path: '/dev/vg0/web-1' }, { path: '/dev/vg0/web-2', storage: 'lvm-snapshot' });
  await t.rejects(store.remove({ path: '/dev/vg0/web-1', storage: 'lvm' }), {
    code: 'unavailable',
    message: /has the snapshot vg0\/web-2/,
  });
  lvm.add({ name: 'pool', type: 'thin-pool', sizeBytes: 100 * MIB, dataPercent: 25 });
  lvm.add({ name: 'thin', type: 'thin', sizeBytes: 8 * MIB, pool: 'pool', dataPercent: 50 });
  const inPool = { storage: 'lvm-thin', pool: 'vg0/pool' } as const;
  await make({ ...raw, path: '/dev/vg0/thin' }, { path: '/dev/vg0/thin-2', ...inPool }, 16 * MIB);
  const before = execFileSync('du', ['-k', join(root, 'a.img')]);
  t.ok(before.length > 0);
  await make(raw, { path: '/dev/vg0/thin-3', ...inPool });
  t.ok(
    bytesOf('thin-3')
      .subarray(0, 3 * MIB)
      .equals(readFileSync(image)),
  );
  t.strictSame(lvm.changes, [
    `lvcreate --addtag domherd --name web-1 --wipesignatures y --size ${3 * MIB}b vg0`,
    `lvcreate --addtag domherd --name swap-1 --wipesignatures y --size ${4 * MIB}b vg0`,
    'lvcreate --snapshot --addtag domherd --name web-2 --extents 110%ORIGIN vg0/web-1',
    'lvcreate --snapshot --addtag domherd --name thin-2 --setactivationskip n vg0/thin',
    `lvextend --size ${16 * MIB}b /dev/vg0/thin-2`,
    `lvcreate --addtag domherd --name thin-3 --virtualsize ${3 * MIB}b --thinpool pool vg0`,
  ]);
  t.strictSame(await store.roomFor({ path: '/dev/vg0/x', storage: 'lvm' }), { store: 'vg0', freeBytes: 512 * MIB });
  t.strictSame(await store.roomFor({ path: '/dev/vg0/x', ...inPool }), { store: 'vg0/pool', freeBytes: 75 * MIB });
  const { bavail, bsize } = statfsSync(root);
  const { freeBytes } = await store.roomFor({ path: join(root, 'x/y.img'), storage: 'copy' });
  t.ok(Math.abs(bavail * bsize - 256 * MIB - freeBytes) < 200 * MIB, 'a file system keeps 256 MiB');
  const facts = await store.survey({ disks: [{ path: '/dev/vg0/thin', format: 'raw' }], wanted: 'lvm-thin' });
  t.strictSame(facts.disks.get('/dev/vg0/thin'), { kind: 'volume', group: 'vg0', name: 'thin', pool: 'pool' });
  t.strictSame(facts.groups, [{ name: 'vg0', freeBytes: 512 * MIB, pools: [{ name: 'pool', freeBytes: 75 * MIB }] }]);

  await store.remove({ path: '/dev/vg0/thin', storage: 'lvm' });
  await store.remove({ path: '/dev/vg0/none', storage: 'lvm' });
  t.ok(lvm.volumes.has('thin'), 'what has not our tag stays');
  await store.remove({ path: '/dev/vg0/thin-3', storage: 'lvm-thin' });
  t.notOk(lvm.volumes.has('thin-3'));
  const bare = new HostDiskStore(createExec({ PATH: root }));
  t.equal(await bare.find('/dev/vg0/a'), undefined, 'without LVM there are no volumes');
});

t.test('a volume is filled with what comes of another host, and a device is as long as the kernel says', async (t) => {
  const root = t.testdir({});
  const lvm = new FakeLvm(EXEC, root, `domherd-s${process.pid}`);
  t.teardown(() => lvm.close());
  const store = new HostDiskStore(lvm);
  const path = `/dev/${lvm.group}/web-1`;
  const piece = (offsetBytes: number, text: string) => ({ file: 0, offsetBytes, bytes: Buffer.alloc(4096, text) });
  // eslint-disable-next-line @typescript-eslint/require-await
  const pieces = (async function* () {
    yield piece(8192, 'a');
    yield piece(3 * MIB, 'b');
  })();
  const source = { kind: 'received', path: '/dev/vg0/domU', sizeBytes: 5 * MIB, usedBytes: 8192, pieces } as const;
  await store.make({ source, place: { path, storage: 'lvm' } }, NEVER);
  const wanted = Buffer.alloc(8 * MIB);
  for (const { offsetBytes, bytes } of [piece(8192, 'a'), piece(3 * MIB, 'b')]) wanted.set(bytes, offsetBytes);
  t.ok(readFileSync(lvm.deviceOf('web-1')).equals(wanted), 'what was there before is zeroed, between the pieces too');
  t.equal(await store.remove({ path, storage: 'lvm' }), true);
  lvm.add({ name: 'other', type: 'linear', sizeBytes: 4 * MIB });
  t.equal(await store.remove({ path: `/dev/${lvm.group}/other`, storage: 'copy' }), false, 'it was not made here');
  const device = lvm.deviceOf('other');
  t.strictSame(await store.find(device), { sizeBytes: 4 * MIB, usedBytes: 4 * MIB });
  t.equal(await store.remove({ path: device, storage: 'copy' }), false);
  t.equal(await store.remove({ path: '/dev/none', storage: 'copy' }), true, 'what is not there is gone');

  const [base, middle, top] = ['base.img', 'middle', 'top'].map((file) => join(root, file)) as [string, string, string];
  writeFileSync(base, Buffer.alloc(2 * MIB, 'x'));
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', base, middle]);
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-F', 'qcow2', '-b', middle, top, '9M']);
  const { sizeBytes, usedBytes, contentBytes = 0 } = (await store.find(top, 'qcow2')) ?? {};
  t.equal(sizeBytes, 9 * MIB);
  t.ok((usedBytes ?? 0) < MIB && contentBytes > 2 * MIB && contentBytes < 4 * MIB, 'what is below it is in it too');
});

t.test('the stores of a host', async (t) => {
  const root = t.testdir({});
  const lvm = new FakeLvm(EXEC, root);
  t.teardown(() => lvm.close());
  lvm.add({ name: 'pool', type: 'thin-pool', sizeBytes: 200 * MIB, dataPercent: 25 });
  lvm.add({ name: 'thin', type: 'thin', sizeBytes: 80 * MIB, pool: 'pool', dataPercent: 50 });
  const image = join(root, 'disk.img');
  writeFileSync(image, Buffer.alloc(3 * MIB, 'x'));
  const mountinfoPath = join(root, 'mountinfo');
  writeFileSync(
    mountinfoPath,
    `22 1 8:3 / / rw,relatime shared:1 - ext4 /dev/sda3 rw
23 22 8:5 / /tmp rw - xfs /dev/sda5 rw
24 22 8:6 / ${root.replaceAll(' ', '\\040')} rw shared:3 master:1 - btrfs /dev/sdb rw
`,
  );
  const stores = new SystemStores({ exec: lvm, mountinfoPath });
  const disk = { vmKey: '/etc/xen/a.cfg', format: 'raw' } as const;
  const disks = [
    { ...disk, path: image },
    { ...disk, path: '/dev/vg0/thin' },
    { ...disk, path: '/dev/sdz' },
    { ...disk, path: join(root, 'none.img') },
  ];
  const read = (isFresh = false) => stores.readStores(disks, isFresh);
  const found = await read();
  const { blocks, bsize } = statfsSync('/');
  // The test's own folder may come before /tmp or after it.
  const order = ['/', '/tmp', root, 'vg0', 'vg0/pool'];
  const byName = found.toSorted((a, b) => order.indexOf(a.name) - order.indexOf(b.name));
  const isShared = found.find(({ name }) => name === root)?.sharesBlocks ?? false;
  const lvmNote = { isRecorded: false, recordedReason: 'an environment is recorded as files, without volumes' };
  const none = { metadataPercent: undefined, disks: [] };
  t.strictSame(
    byName.map(({ kind, name, type, metadataPercent, sharesBlocks, isRecorded, recordedReason, disks: own }) => ({
      ...{ kind, name, type, metadataPercent, sharesBlocks, isRecorded, recordedReason },
      disks: own,
    })),
    [
      {
        ...none,
        kind: 'file-system',
        name: '/',
        type: 'ext4',
        sharesBlocks: false,
        isRecorded: true,
        recordedReason: 'it is the root file system, without /tmp',
      },
      {
        ...none,
        kind: 'file-system',
        name: '/tmp',
        type: 'xfs',
        sharesBlocks: false,
        isRecorded: false,
        recordedReason: '/tmp is left out',
      },
      {
        ...{ ...none, kind: 'file-system', name: root, type: 'btrfs', sharesBlocks: isShared, isRecorded: false },
        recordedReason: 'the root file system alone is recorded',
        disks: [{ vmKey: '/etc/xen/a.cfg', path: image, sizeBytes: 3 * MIB, usedBytes: 16 * MIB }],
      },
      { ...none, kind: 'volume-group', name: 'vg0', type: 'lvm', sharesBlocks: false, ...lvmNote },
      {
        ...{ ...none, kind: 'thin-pool', name: 'vg0/pool', type: 'lvm', sharesBlocks: true, ...lvmNote },
        disks: [{ vmKey: '/etc/xen/a.cfg', path: '/dev/vg0/thin', sizeBytes: 80 * MIB, usedBytes: 48 * MIB }],
      },
    ],
  );
  t.equal(found[0]?.sizeBytes, blocks * bsize);
  t.equal(found[4]?.sizeBytes, 200 * MIB);
  lvm.volumes.delete('pool');
  t.equal((await read()).length, 5, 'LVM is not asked each time');
  t.equal((await read(true)).length, 4);
  const broken = new SystemStores({ exec: lvm, mountinfoPath: join(root, 'none') });
  await t.rejects(broken.readStores([], false), { code: 'unavailable' });
  t.equal(storeNameOf('/tmp/a.img', '/'), '/tmp', 'which is no mount of its own, but left out all the same');
  t.equal(storeNameOf('/tmpfoo/a.img', '/'), '/');
  const mounts = parseMountinfo(
    '1 0 0:1 / / rw - ext4 a rw\n2 1 0:2 / /a\\040b rw - xfs b rw\n3 1 0:3 / /a\\040b rw - btrfs c rw\nx\n',
  );
  t.strictSame(mountOf('/a b/c', mounts), { path: '/a b', type: 'btrfs' }, 'the later one hides the earlier');
  t.strictSame(mountOf('/a bc', mounts), { path: '/', type: 'ext4' });
});

/** The real programs, as far as they go without the kernel's device mapper. */
t.test('real LVM takes our questions', async (t) => {
  const root = t.testdir({});
  const disk = join(root, 'pv.img');
  writeFileSync(disk, '');
  truncateSync(disk, 64 * MIB);
  const loop = execFileSync('losetup', ['--show', '-f', disk]).toString().trim();
  const without = ['--driverloaded', 'n', '--config', `devices{filter=["a|^${loop}$|","r|.*|"]}`];
  const real = (program: string, ...args: readonly string[]): void => {
    execFileSync(program, [...without, ...args], {
      stdio: 'pipe',
      env: { ...process.env, LVM_SUPPRESS_FD_WARNINGS: '1' },
    });
  };
  t.teardown(() => execFileSync('losetup', ['-d', loop]));
  real('pvcreate', loop);
  const group = `domherd${process.pid}`;
  real('vgcreate', group, loop);
  real('lvcreate', '-an', '-Zn', '-Wn', '--addtag', 'domherd', '--name', 'a-b', '--size', '8388608b', group);
  t.teardown(() => real('vgremove', '-ff', group));
  const store = new HostDiskStore({
    run: ([program, ...args], options) => EXEC.run([program, ...without, ...args], options),
  });
  t.strictSame(await store.find(`/dev/mapper/${group}-a--b`), { sizeBytes: 8 * MIB, usedBytes: 8 * MIB });
  const { groups } = await store.survey({ disks: [], wanted: 'lvm-thin' });
  t.strictSame(groups, [{ name: group, freeBytes: 52 * MIB, pools: [] }]);
});

t.test('reflinks, where the file system can', async (t) => {
  const root = t.testdir({ xfs: {} });
  const image = join(root, 'xfs.img');
  writeFileSync(image, '');
  truncateSync(image, 400 * MIB);
  execFileSync('mkfs.xfs', ['-q', image]);
  const mount = join(root, 'xfs');
  execFileSync('mount', ['-o', 'loop', image, mount]);
  try {
    await checkReflinks(t, root, mount);
  } finally {
    execFileSync('umount', [mount]);
  }
});

async function checkReflinks(t: Test, root: string, mount: string): Promise<void> {
  const store = new HostDiskStore(EXEC);
  const from = join(mount, 'domU', 'disk.img');
  mkdirSync(join(mount, 'domU'));
  writeFileSync(from, Buffer.alloc(40 * MIB, 'x'));
  execFileSync('sync', ['-f', from]);
  const usedMib = (): number => Number(execFileSync('df', ['-m', '--output=used', mount]).toString().split('\n')[1]);
  const before = usedMib();
  const source = { kind: 'copy', path: from, format: 'raw' } as const;
  const { disks } = await store.survey({ disks: [source], wanted: undefined });
  t.strictSame(disks.get(from), { kind: 'file', canReflink: true, backingFile: undefined });
  const path = join(mount, 'web-1', 'disk.img');
  await store.make({ source, place: { path, storage: 'reflink' } }, NEVER);
  t.ok(readFileSync(path).equals(readFileSync(from)));
  t.ok(usedMib() - before < 4, 'the blocks are shared');
  await store.make({ source, place: { path: join(mount, 'c.img'), storage: 'copy' } }, NEVER);
  t.ok(usedMib() - before >= 40, 'those of a copy are not');
  const elsewhere = join(root, 'web-1.img');
  await t.rejects(store.make({ source, place: { path: elsewhere, storage: 'reflink' } }, NEVER), {
    code: 'unavailable',
  });
  writeFileSync(join(root, 'disk.img'), 'x');
  const other = await store.survey({ disks: [{ path: join(root, 'disk.img'), format: 'raw' }], wanted: undefined });
  t.match(other.disks.get(join(root, 'disk.img')), { canReflink: false });
}

/** Guests without a file system. */
const BLIND: GuestDisk = {
  read: () => Promise.resolve(undefined),
  write: () => Promise.reject(new Error('not to be written')),
  restore: () => Promise.resolve(undefined),
  renew: () => Promise.resolve([]),
  grow: () => Promise.resolve(),
  forget: () => Promise.resolve(),
  follow: () => Promise.resolve(),
  findOpen: () => Promise.resolve(undefined),
};

/** A dom0 whose domU has two small disks that nobody looks into. */
function makeDom0(t: Test) {
  const root = t.testdir({ xen: {}, domU: {} });
  const disks = ['disk.img', 'swap.img'].map((name) => join(root, 'domU', name));
  for (const disk of disks) writeFileSync(disk, Buffer.alloc(2 * MIB, 'x'));
  const cfgPath = join(root, 'xen', 'domU.cfg');
  writeFileSync(cfgPath, `name='domU'\ndisk=['file:${disks[0]},xvda2,w','file:${disks[1]},xvda1,w']\n`);
  const rig = makeConfigureRig(root, EXEC);
  const store = new HostDiskStore(EXEC, undefined, []);
  const maker = new VmMaker({
    ...{ cfgFolder: rig.cfgFolder, formerCfgs: new RecordFormerCfgs(rig.originals), disks: store },
    copies: new RecordCopyLog(new DirRecordStore(join(root, 'copies'))),
    guestDisk: BLIND,
    autostart: new DirAutostart(join(root, 'xen', 'auto')),
    log: pino({ level: 'silent' }),
  });
  const said: string[] = [];
  const path = join(root, 'xen', 'web-1.cfg');
  const source = stoppedVm(cfgPath);
  const copy = (shape: { readonly storage: Storage; readonly diskMib?: number }) =>
    makeCopier(root, { cfgFolder: rig.cfgFolder, disks: store, maker }).copy(
      source,
      path,
      { name: 'web-1', uuid: 'u', shape },
      (say) => said.push(say),
      NEVER,
    );
  return { root, disks, maker, said, path, source, copy, cfgFolder: rig.cfgFolder };
}

t.test('overlays: small, and their backing files are left alone', async (t) => {
  const { root, disks, maker, said, path, source, copy } = makeDom0(t);
  await copy({ storage: 'qcow2', diskMib: 5 });
  t.match(said[0], /^copy .*disk\.img \(qcow2: as asked; domU is neither started/);
  const image = join(root, 'web-1', 'disk.img');
  const target = `format=qcow2,vdev=xvda2,access=w,target=${image}`;
  t.equal(
    readFileSync(path, 'latin1').split('\n')[1],
    `disk=['${target}','format=qcow2,vdev=xvda1,access=w,target=${join(root, 'web-1', 'swap.img')}']`,
  );
  t.equal(statSync(image).mode & 0o777, 0o600);
  t.ok(statSync(image).blocks * 512 < MIB);
  t.strictSame(parseQcow2Header(readFileSync(image), image), {
    ...{ sizeBytes: 5 * MIB, backingFile: disks[0], backingFormat: 'raw' },
  });
  execFileSync('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', image, join(root, 'raw')]);
  t.ok(
    readFileSync(join(root, 'raw'))
      .subarray(0, 2 * MIB)
      .equals(readFileSync(disks[0] ?? '')),
  );
  await t.rejects(maker.refuseBacking(source, 'started'), {
    code: 'wrong_state',
    message: 'domU cannot be started: web-1 share its disks',
    details: { hint: 'domherd vm delete web-1' },
  });
  await maker.remove({ ...stoppedVm(path), name: 'web-1' });
  t.notOk(existsSync(join(root, 'web-1')));
  await maker.refuseBacking(source, 'started');
  await t.rejects(copy({ storage: 'reflink' }), { code: 'invalid', message: /cannot share blocks/ });
  await t.rejects(copy({ storage: 'copy', diskMib: 1 }), {
    code: 'invalid',
    message: /cannot have 1 MiB: .* has 2 MiB/,
  });
  t.notOk(existsSync(path));
});

t.test('what has overlays of its own is not deleted', async (t) => {
  const { maker, path, copy, cfgFolder, root } = makeDom0(t);
  await copy({ storage: 'copy' });
  const store = new HostDiskStore(EXEC, undefined, []);
  const copier = makeCopier(root, { cfgFolder, disks: store, maker });
  const web1 = { ...stoppedVm(path), name: 'web-1' };
  const web2 = join(root, 'xen', 'web-2.cfg');
  await copier.copy(web1, web2, { name: 'web-2', uuid: 'u', shape: { storage: 'qcow2' } }, () => undefined, NEVER);
  await t.rejects(maker.remove(web1), {
    code: 'wrong_state',
    message: /web-1 cannot be deleted: web-2 share its disks/,
  });
  await maker.remove({ ...stoppedVm(web2), name: 'web-2' });
  await maker.remove(web1);
  t.notOk(existsSync(path));
  const { overlayRefusal } = await new HostDiskStore(EXEC).survey({ disks: [], wanted: 'qcow2' });
  const hasDeviceModel = existsSync('/usr/libexec/xen-qemu-system-i386');
  t.match(overlayRefusal, hasDeviceModel ? undefined : { hint: /qemu-system-xen/ });
});

t.test('an overlay is a machine of its own, with a longer file system, and its source stays as it is', async (t) => {
  const root = t.testdir({ xen: {}, domU: {} });
  const disk = join(root, 'domU', 'disk.img');
  makeImage(disk, { ...DEBIAN, '/etc/machine-id': 'of-domU\n' });
  writeFileSync(join(root, 'xen', 'domU.cfg'), `name='domU'\ndisk=['file:${disk},xvda2,w']\nvif=['bridge=br0']\n`);
  const before = readFileSync(disk);
  const { cfgFolder, cfgPath, originals, guestDisk } = makeConfigureRig(root, EXEC);
  const store = new HostDiskStore(EXEC, undefined, []);
  const maker = new VmMaker({
    ...{ cfgFolder, formerCfgs: new RecordFormerCfgs(originals), disks: store, guestDisk },
    autostart: new DirAutostart(join(root, 'xen', 'auto')),
    copies: new RecordCopyLog(new DirRecordStore(join(root, 'copies'))),
    log: pino({ level: 'silent' }),
  });
  const path = join(root, 'xen', 'web-1.cfg');
  const shape = { storage: 'qcow2', diskMib: 48 } as const;
  const copier = makeCopier(root, { cfgFolder, disks: store, maker });
  await copier.copy(stoppedVm(cfgPath), path, { name: 'web-1', uuid: 'u', shape }, () => undefined, NEVER);
  const guest = { name: 'web-1', cfgPath: path, cfg: parseXlCfg(readFileSync(path, 'latin1')) };
  await (await guestDisk.write(guest, settingsOf(7), NEVER)).keep();
  const seen = join(root, 'seen.img');
  execFileSync('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', join(root, 'web-1', 'disk.img'), seen]);
  t.ok(isClean(seen));
  t.equal(statSync(seen).size, 48 * MIB);
  t.equal(readInImage(seen, '/etc/machine-id'), '');
  t.match(readInImage(seen, '/etc/network/interfaces'), 'address 10.180.0.7');
  t.ok(readFileSync(disk).equals(before));
  t.ok(statSync(join(root, 'web-1', 'disk.img')).blocks * 512 < 16 * MIB, 'it has its own blocks alone');
});

t.test('the header of a qcow2 image', (t) => {
  t.throws(() => parseQcow2Header(Buffer.alloc(200), '/a'), { code: 'invalid', message: /no qcow2 image/ });
  t.throws(() => parseQcow2Header(Buffer.from('QFI'), '/a'), { code: 'invalid' });
  t.end();
});
