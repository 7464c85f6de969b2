import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import t, { type Test } from 'tap';
import type { CopySettings } from '../../agent/domain/copy-plan.js';
import type { NewDisk } from '../../agent/domain/new-disk.js';
import type { ObservedVm } from '../../agent/domain/vm.js';
import type { DiskStore } from '../../agent/ports/disk-store.js';
import type { VmShape } from '../../shared/domain/vm-shape.js';
import { AppError } from '../../shared/errors.js';
import { createExec } from '../../shared/exec.js';
import type { CreateRequest } from '../../controller/services/vm-creator.js';
import type { HostStore } from '../../shared/domain/host-store.js';
import { imageVm, obey } from '../fakes/fake-agent.js';
import { ADMIN, collect, FleetWorld } from '../fakes/fleet-world.js';
import { FakeLvm } from '../fakes/fake-lvm.js';
import { settle } from '../fakes/manual-timer.js';
import { addDomU, makeCarryDom0 } from '../harness/carry-rig.js';
import { readInImage } from '../harness/guest-image.js';
import { makeSeed, readSeed } from '../harness/seed-image.js';
import { openTransferRig, sha256Of } from '../harness/transfer-rig.js';

const CREATE: Omit<CreateRequest, 'name' | 'hosts' | 'source'> = {
  ...{ count: undefined, placement: 'spread', shape: {}, reservation: undefined, bridge: undefined, isDryRun: false },
  ...{ labels: {}, apart: undefined, isStarted: false },
};
const MIB = 1024 * 1024;
const DB = '/etc/xen/db.cfg';
const POOL = { name: 'pool', type: 'thin-pool', sizeBytes: 1024 * MIB } as const;
const NEVER = new AbortController().signal;
const SILENT = (): void => undefined;
const WEB: CopySettings = {
  ...{ name: 'web-1', uuid: '3d5c1f0a-0001-4000-8000-000000000001' },
  shape: { memoryMib: 300 },
};

/** Two dom0s and a controller between them, over TLS. The second one has what it sees of the first one's disks as its own. */
async function makeWorld(t: Test, hasLvm = false) {
  const rig = await openTransferRig(t);
  const folder = t.testdir();
  const hosts = ['dom0-1', 'dom0-2'];
  const lvms = hasLvm ? hosts.map((host, n) => makeLvm(t, join(folder, host), n)) : [];
  const [from, to] = await Promise.all(
    hosts.map(async (host, n) => makeCarryDom0(join(folder, host), await rig.linkOf(host), lvms[n])),
  );
  if (!from || !to) throw new Error('two were asked for');
  const cfg = addDomU(from);
  const source = async (): Promise<ObservedVm> => {
    const vm = await from.observer.find(from.cfgOf('domU'));
    if (!vm) throw new Error('there is no domU');
    return vm;
  };
  const cfgPath = to.cfgOf('web-1');
  const carry = async (options: CarryOptions = {}): Promise<readonly string[]> => {
    const { path = cfgPath, maker = to.maker(), tell = SILENT, sendSignal = NEVER, signal = NEVER } = options;
    const transfer = rig.hub.open('dom0-1', 'dom0-2');
    let first: { readonly reason: unknown } | undefined;
    const failed = (reason: unknown): void => {
      first ??= { reason };
      transfer.close(reason instanceof AppError ? reason : new AppError('unavailable', String(reason)));
    };
    const { isMove, shape, needsSeed = shape?.userData !== undefined } = options;
    const sent = from.sender
      .send(await source(), { transferId: transfer.id, needsSeed }, SILENT, sendSignal)
      .catch(failed);
    const wanted = isMove
      ? { copy: undefined, storage: shape?.storage }
      : { copy: { ...WEB, shape: { ...WEB.shape, ...shape } } };
    const warnings = await to
      .receiver(maker)
      .receive(path, { transferId: transfer.id, ...wanted }, tell, signal)
      .catch(failed);
    const isThere = warnings !== undefined;
    // As the controller does: whoever has what it needs takes no more.
    transfer.close();
    await sent;
    if (!isThere) throw first?.reason;
    return warnings;
  };
  const image = join(from.root, 'domains', 'web-1', 'disk.img');
  return { rig, from, to, cfg, source, carry, cfgPath, image, lvms };
}

function makeLvm(t: Test, folder: string, n: number): FakeLvm {
  mkdirSync(folder, { recursive: true });
  const lvm = new FakeLvm(createExec(process.env), folder, `domherd${String(process.pid)}-${String(n)}`);
  t.teardown(() => lvm.close());
  lvm.add(POOL);
  return lvm;
}

/** The domU with its root on a thin volume that was made here, its swap disk an overlay, and a volume of somebody else's. */
async function makeMixedWorld(t: Test) {
  const world = await makeWorld(t, true);
  const { from, to, lvms, cfg } = world;
  const [here, there] = lvms;
  if (!here || !there) throw new Error('two were asked for');
  const [disk, base, overlay] = ['disk.img', 'swap.img', 'swap.qcow2'].map((file) =>
    join(from.root, 'domains', 'domU', file),
  ) as [string, string, string];
  here.add({ name: 'domU-disk', type: 'thin', pool: 'pool', sizeBytes: 24 * MIB, tag: 'domherd', dataPercent: 50 });
  here.add({ name: 'other', type: 'linear', sizeBytes: 4 * MIB });
  execFileSync('dd', [`if=${disk}`, `of=${here.deviceOf('domU-disk')}`, 'bs=1M', 'conv=fsync', 'status=none']);
  rmSync(disk);
  writeFileSync(base, randomBytes(MIB));
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', base, overlay, '8M']);
  execFileSync('qemu-io', ['-f', 'qcow2', '-c', 'write -P 7 512k 4k', '-c', 'write -P 7 7M 4k', overlay]);
  const root = `phy:/dev/${here.group}/domU-disk,xvda2,w`;
  const others = `'format=qcow2,vdev=xvda1,access=rw,target=${overlay}', 'phy:/dev/${here.group}/other,xvdb,w'`;
  writeFileSync(from.cfgOf('domU'), cfg.replace(/disk=.*/, `disk=['${root}', ${others}]`));
  const mine = `name='mine'\ndisk=['file:${to.root}/domains/mine/disk.img,xvda2,w']\n`;
  writeFileSync(to.cfgOf('mine'), mine);
  const bytes = {
    disk: readFileSync(here.deviceOf('domU-disk')),
    swap: seenIn(overlay),
    other: readFileSync(here.deviceOf('other')),
  };
  return { ...world, here, there, base, overlay, bytes };
}

/** What a guest has in that qcow2 image. */
function seenIn(image: string): Buffer {
  const raw = `${image}.seen`;
  execFileSync('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', image, raw]);
  const bytes = readFileSync(raw);
  rmSync(raw);
  return bytes;
}

/** Whoever makes disks there dies with the last of them. */
function dyingIn(disks: DiskStore, count: number): DiskStore {
  const dead = new Error('dead');
  let made = 0;
  return {
    find: (path, format) => disks.find(path, format),
    survey: (question) => disks.survey(question),
    roomFor: (place) => disks.roomFor(place),
    make: async (disk: NewDisk, signal) => {
      await disks.make(disk, signal);
      if ((made += 1) === count) throw dead;
    },
    remove: () => Promise.reject(dead),
  };
}

/** With more than what may be under way: what happens at the first progress happens in the middle. */
function fillSwap(root: string): void {
  writeFileSync(join(root, 'domains', 'domU', 'swap.img'), randomBytes(48 * 1024 * 1024));
}

interface Refusal {
  readonly code: string;
  readonly message?: RegExp;
  readonly details?: Record<string, RegExp | string>;
}

interface CarryOptions {
  readonly path?: string;
  readonly maker?: ReturnType<ReturnType<typeof makeCarryDom0>['maker']>;
  readonly tell?: (message: string, percent?: number) => void;
  readonly sendSignal?: AbortSignal;
  readonly signal?: AbortSignal;
  readonly isMove?: boolean;
  readonly shape?: VmShape;
  /** As the controller does, unless it is said here. */
  readonly needsSeed?: boolean;
}

t.test('a copy on another host is a machine of its own, and the source is as it was', async (t) => {
  const { from, to, carry, cfgPath, image, cfg } = await makeWorld(t);
  const disk = join(from.root, 'domains', 'domU', 'disk.img');
  const [before, sum] = [from.files(), sha256Of(disk)];
  const told: number[] = [];
  t.strictSame(await carry({ tell: (_, percent) => percent !== undefined && told.push(percent) }), []);
  t.ok(told.length > 2 && told.every((percent, n) => percent >= (told[n - 1] ?? 0)), `progress ${told.join(' ')}`);
  const made = readFileSync(cfgPath, 'latin1');
  t.match(made, /^# the tutorial's own\nname='web-1'\nmemory=300\n/);
  t.match(made, /web-1\/disk\.img,xvda2,w', 'file:\S+web-1\/swap\.img/);
  t.notMatch(made, /mac=/, 'the lease brings one');
  t.match(readInImage(image, '/etc/ssh/ssh_host_ed25519_key.pub'), /^ssh-ed25519 AAAA\S+ root@web-1\n$/);
  t.equal(readInImage(image, '/etc/machine-id'), '');
  execFileSync('e2fsck', ['-fn', image], { stdio: 'pipe' });
  t.equal(statSync(image).size, statSync(disk).size);
  t.ok(statSync(image).blocks * 512 < 16 * 1024 * 1024, 'holes stay holes');
  t.equal(statSync(image).mode & 0o777, 0o600);
  t.strictSame([sha256Of(disk), readFileSync(from.cfgOf('domU'), 'latin1')], [sum, cfg]);
  const copy = await to.observer.find(cfgPath);
  t.strictSame(await carry(), [], 'repeated: done, and nothing is sent');
  if (copy) await to.maker().remove(copy);
  t.strictSame(to.files(), [], 'deleted, nothing is left');
  t.strictSame(from.files(), before);
});

t.test('what cannot be copied there is refused, with nothing left', async (t) => {
  const { from, to, carry, cfgPath } = await makeWorld(t);
  fillSwap(from.root);
  const before = from.files();
  const refuses = async (error: Refusal, options: CarryOptions = {}): Promise<void> => {
    await t.rejects(carry(options), error);
    t.strictSame([to.files(), from.files()], [[], before]);
  };
  const cfgFile = from.cfgOf('domU');
  const cfg = readFileSync(cfgFile, 'latin1');
  const withCfg = async (text: string, error: Refusal): Promise<void> => {
    writeFileSync(cfgFile, text);
    await refuses(error);
    writeFileSync(cfgFile, cfg);
  };
  const kernel = join(from.root, 'vmlinuz');
  rmSync(kernel);
  await refuses({ code: 'not_found', details: { path: kernel, hint: /scp/ } });
  writeFileSync(kernel, 'a kernel');
  await withCfg(cfg.replace("xvda1,w'", "xvda1,w', 'file:/no/such.iso,hdc:cdrom,r'"), {
    ...{ code: 'not_found', details: { path: '/no/such.iso' } },
  });
  await withCfg(cfg.replace(/file:(\S+swap.img),xvda1,w/, 'format=qcow2,vdev=xvda1,access=rw,target=$1'), {
    ...{ code: 'invalid', message: /swap\.img is no qcow2 image/ },
  });
  await withCfg(cfg.replace(/file:(\S+swap.img)/, 'vhd:$1'), { code: 'invalid', message: /none that can go .*: vhd/ });
  await withCfg(cfg.replace(/file:\S+swap.img/, 'phy:/dev/vg/swap'), { code: 'not_found', message: /\/dev\/vg\/swap/ });
  await withCfg(cfg.replace('domU/swap.img', 'domU/none.img'), { code: 'not_found', message: /no disk \S+none\.img/ });
  from.domains.push({ name: 'domU', uuid: 'u', state: 'running', memoryMib: 1, vcpus: 1 });
  await refuses({ code: 'wrong_state', details: { hint: 'domherd vm shutdown domU' } });
  from.domains.pop();
  const started = (): void => {
    if (from.domains.length === 0)
      from.domains.push({ name: 'domU', uuid: 'u', state: 'starting', memoryMib: 1, vcpus: 1 });
  };
  await refuses(
    { code: 'raced', message: /domU is starting/ },
    { tell: (_, percent) => percent !== undefined && started() },
  );
  from.domains.pop();
  const disks = Object.assign(Object.create(to.makerParts.disks) as typeof to.makerParts.disks, {
    roomFor: () => Promise.resolve({ store: '/', freeBytes: 1000 }),
    find: (path: string) => to.makerParts.disks.find(path),
  });
  await refuses({ code: 'exhausted', message: /1 MiB are free/ }, { maker: to.maker({ disks }) });
  writeFileSync(cfgPath, "name='hand made'\n");
  await t.rejects(carry(), { code: 'already_exists' });
  t.equal(readFileSync(cfgPath, 'latin1'), "name='hand made'\n");
});

t.test('a copy on another host boots by what it is given there, and cloud-init is told something else', async (t) => {
  const { from, to, carry, cfgPath, cfg } = await makeWorld(t);
  const folder = join(from.root, 'domains', 'domU');
  const before = from.files();
  const refuses = async (options: CarryOptions, error: Refusal): Promise<void> => {
    await t.rejects(carry(options), error);
    t.notOk(existsSync(join(to.root, 'copies')), 'nothing was begun');
    t.strictSame(from.files(), before);
  };
  const userData = '#cloud-config\nruncmd: [[touch, /tmp/x]]\n';
  const seedless = { code: 'wrong_state', message: /domU has no seed/, details: { hint: /leave --user-data out/ } };
  await refuses({ shape: { userData } }, seedless);
  const kernel = join(from.root, 'vmlinuz');
  rmSync(kernel);
  await refuses({}, { code: 'not_found', details: { path: kernel } });
  const none = join(to.root, 'none');
  await refuses(
    { shape: { boot: { kind: 'direct', kernel: none } } },
    { code: 'wrong_state', details: { path: none } },
  );
  await refuses(
    { shape: { boot: { kind: 'bootloader', bootloader: 'pvgrub' } } },
    { code: 'wrong_state', details: { hint: /grub-xen-host/ } },
  );

  await makeSeed(join(folder, 'seed.img'), join(from.root, 'work'));
  const seeded = cfg.replace("xvda1,w'", `xvda1,w','file:${join(folder, 'seed.img')},xvdz,w'`);
  writeFileSync(from.cfgOf('domU'), seeded);
  const mine = join(to.root, 'vmlinuz-mine');
  writeFileSync(mine, 'a kernel');
  await carry({ shape: { userData, boot: { kind: 'direct', kernel: mine, cmdline: 'quiet' } } });
  const made = readFileSync(cfgPath, 'latin1');
  t.match(made, new RegExp(`^kernel='${mine}'$`, 'm'), 'and that of its source is not looked for');
  t.match(made, /^root='\/dev\/xvda2 ro'\n[^]*^extra = 'quiet'\n$/m);
  const seed = join(from.root, 'domains', 'web-1', 'seed.img');
  t.match(await readSeed(seed, join(to.root, 'work')), { metaData: /"domherd-web-1-2"/, userData });
  const copy = await to.observer.find(cfgPath);
  if (copy) await to.maker().remove(copy);

  writeFileSync(from.cfgOf('domU'), cfg);
  writeFileSync(kernel, 'a kernel');
  await t.rejects(carry({ shape: { userData }, needsSeed: false }), {
    ...{ code: 'wrong_state', message: /web-1, a copy, has no seed/ },
  });
  t.strictSame(to.files(), [], 'a sender that does not look: undone');
});

t.test('volumes and qcow2 images go as what their guest sees, into what is asked for', async (t) => {
  const { from, to, carry, cfgPath, there, bytes } = await makeMixedWorld(t);
  const folder = join(to.root, 'domains', 'web-1');
  const near = join(from.root, 'domains', 'web-1');
  const group = join('/dev', there.group);
  const before = [from.files(), to.files()];
  const cases = {
    copy: { root: join(folder, 'xvda2.img'), swap: join(near, 'swap.img'), other: join(folder, 'xvdb.img') },
    qcow2: { root: join(folder, 'xvda2.qcow2'), swap: join(near, 'swap.qcow2'), other: join(folder, 'xvdb.qcow2') },
    'lvm-thin': {
      ...{ root: join(group, 'web-1-xvda2'), swap: join(group, 'web-1-xvda1'), other: join(group, 'web-1-xvdb') },
    },
  } as const;
  for (const [storage, { root, swap, other }] of Object.entries(cases) as [keyof typeof cases, typeof cases.copy][]) {
    const said: string[] = [];
    await carry({ shape: storage === 'copy' ? {} : { storage }, tell: (message) => said.push(message) });
    const cfg = readFileSync(cfgPath, 'latin1');
    const format = storage === 'qcow2' ? 'qcow2' : 'raw';
    for (const [vdev, path] of [
      ['xvda2', root],
      ['xvda1', swap],
      ['xvdb', other],
    ] as const) {
      const [here, before] = [`format=${format},vdev=${vdev},access=w,target=${path}'`, `:${path},${vdev},w'`];
      t.ok(cfg.includes(here) || cfg.includes(before), `${storage}: ${vdev}`);
    }
    const read = (path: string): Buffer => (storage === 'qcow2' ? seenIn(path) : readFileSync(path));
    t.ok(read(swap).equals(bytes.swap), `${storage}: the swap disk`);
    t.ok(read(other).equals(bytes.other), `${storage}: the other volume`);
    const image = join(to.root, 'seen.img');
    writeFileSync(image, read(root));
    execFileSync('e2fsck', ['-fn', image], { stdio: 'pipe' });
    t.match(readInImage(image, '/etc/ssh/ssh_host_ed25519_key.pub'), /root@web-1\n$/, storage);
    rmSync(image);
    const made = await to.observer.find(cfgPath);
    if (made) await to.maker().remove(made);
    t.strictSame([from.files(), to.files()], before, `${storage}: deleted, nothing is left`);
    t.strictSame([...there.volumes.keys()], ['pool']);
    if (storage !== 'copy')
      t.ok(
        said.some((each) => /receive .* as .*: as asked/.test(each)),
        said.join('\n'),
      );
  }
  t.strictSame(
    there.changes.filter((change) => /xvda2/.test(change)),
    [
      `lvcreate --addtag domherd --name web-1-xvda2 --virtualsize ${String(24 * MIB)}b --thinpool pool ${there.group}`,
      `lvremove ${there.group}/web-1-xvda2`,
    ],
  );
});

t.test('what this host has not is refused before anything is written, and a death leaves nothing', async (t) => {
  const { from, to, carry, there } = await makeMixedWorld(t);
  const before = [from.files(), to.files()];
  const isAsBefore = (what: string): void => {
    t.strictSame([from.files(), to.files()], before, what);
    t.strictSame(
      [...there.volumes.keys()].filter((name) => name !== 'pool'),
      [],
      what,
    );
    t.notMatch(readFileSync('/proc/mounts', 'latin1'), from.root, `${what}: no view is left`);
  };
  const refuses = async (storage: VmShape['storage'], error: Refusal): Promise<void> => {
    await t.rejects(carry({ shape: { storage } }), error);
    isAsBefore(String(storage));
  };
  const source = /its source is on another host/;
  await refuses('lvm-snapshot', { code: 'invalid', message: source, details: { hint: /lvm-thin/ } });
  await refuses('reflink', { code: 'invalid', message: source });
  there.volumes.set('pool', { ...POOL, dataPercent: 95 });
  await refuses('lvm-thin', { code: 'exhausted', message: /no room for \S+web-1-xvda2/ });
  there.volumes.delete('pool');
  await refuses('lvm-thin', { code: 'exhausted', message: /no thin pool/ });
  there.add(POOL);
  for (const storage of ['lvm-thin', 'qcow2'] as const) {
    for (const count of [1, 3]) {
      const maker = to.maker({ disks: dyingIn(to.makerParts.disks, count) });
      await t.rejects(carry({ maker, shape: { storage } }));
      if (storage === 'lvm-thin') t.ok(there.volumes.has('web-1-xvda2'), 'what is made is there until its restart');
      await to.maker().recover();
      isAsBefore(`${storage}, dead after ${String(count)}`);
    }
  }
});

t.test('a VM on volumes that moves gets files there; here goes what domherd made', async (t) => {
  const { from, to, carry, here, there, source, base, overlay, bytes } = await makeMixedWorld(t);
  const path = to.cfgOf('domU');
  await carry({ path, isMove: true });
  const [disk, other] = ['xvda2.img', 'xvdb.img'].map((file) => join(to.root, 'domains', 'domU', file)) as [
    string,
    string,
  ];
  // Where it would be is the overlay's own source here.
  const swap = join(from.root, 'domains', 'domU', 'domU-swap.img');
  t.match(
    readFileSync(path, 'latin1'),
    `disk=['format=raw,vdev=xvda2,access=w,target=${disk}', 'format=raw,vdev=xvda1,access=w,target=${swap}', 'format=raw,vdev=xvdb,access=w,target=${other}']`,
  );
  t.ok(readFileSync(disk).equals(bytes.disk), 'byte for byte');
  t.ok(readFileSync(swap).equals(bytes.swap));
  t.ok(readFileSync(other).equals(bytes.other));
  const snapshot = { path: '/dev/x/snap', storage: 'lvm-snapshot', origin: `/dev/${here.group}/domU-disk` } as const;
  const cfgPath = from.cfgOf('snap');
  await from.makerParts.copies.put({ cfgPath, cfgText: '', disks: [snapshot], isWhole: true });
  const shared = { code: 'wrong_state', message: /domU cannot be taken to another host: snap share/ };
  await t.rejects(from.maker().refuseShared(await source()), shared);
  await t.rejects(from.maker().leave(await source()), shared);
  t.ok(here.volumes.has('domU-disk') && existsSync(overlay), 'nothing is gone yet');
  await from.makerParts.copies.remove(cfgPath);
  const top = `${overlay}.top`;
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-F', 'qcow2', '-b', overlay, top]);
  for (const disk of [`qcow2:${top},xvda,w`, `phy:/dev/${here.group}/other,xvda,r`]) {
    writeFileSync(cfgPath, `name='snap'\ndisk=['${disk}']\n`);
    const byHand = { code: 'wrong_state', message: /domU cannot be taken to another host: \S+snap\.cfg needs/ };
    await t.rejects(from.maker().leave(await source()), byHand, disk);
  }
  const iso = join(from.root, 'tools.iso');
  writeFileSync(cfgPath, `name='snap'\ndisk=['file:${iso},hdc:cdrom,r', 'qcow2:/no/such.qcow2,xvda,w']\n`);
  const withIso = readFileSync(from.cfgOf('domU'), 'latin1').replace("xvdb,w'", `xvdb,w', 'file:${iso},hdc:cdrom,r'`);
  writeFileSync(from.cfgOf('domU'), withIso);
  const onIso = { path: '/x.qcow2', storage: 'qcow2', origin: iso } as const;
  await from.makerParts.copies.put({ cfgPath, cfgText: '', disks: [onIso], isWhole: true });
  t.match(await from.maker().leave(await source()), [new RegExp(`^/dev/${here.group}/other stays: `)]);
  t.strictSame([...here.volumes.keys()], ['pool', 'other']);
  t.strictSame([existsSync(overlay), existsSync(base), existsSync(from.cfgOf('domU'))], [false, true, false]);
  t.strictSame([...there.volumes.keys()], ['pool']);
  const lines: string[] = [];
  const disks = [{ path: `/dev/${here.group}/other`, storage: 'copy' }] as const;
  await from.makerParts.copies.put({ cfgPath: from.cfgOf('half'), cfgText: '', disks, isWhole: false });
  await from.maker({ log: pino({}, { write: (line) => lines.push(line) }) }).recover();
  t.match(lines, [/half\.cfg.*other.*disks stay/], 'what a restart goes on with is told of too');
});

t.test('a VM that moves is kept as is asked for there', async (t) => {
  const { from, to, carry, there, bytes } = await makeMixedWorld(t);
  const path = to.cfgOf('domU');
  const before = to.files();
  const move = (storage: VmShape['storage']) => carry({ path, isMove: true, shape: { storage } });
  await t.rejects(move('reflink'), { code: 'invalid' });
  t.strictSame(to.files(), before);
  await move('lvm-thin');
  t.ok(readFileSync(there.deviceOf('domU-xvda2')).equals(bytes.disk), 'byte for byte');
  t.ok(readFileSync(there.deviceOf('domU-xvda1')).equals(bytes.swap));
  t.match(readFileSync(path, 'latin1'), `/dev/${there.group}/domU-xvdb`);
  const moved = await to.observer.find(path);
  if (moved) await to.maker().remove(moved);
  there.add({ name: 'domU-xvdb', type: 'linear', sizeBytes: 4 * MIB });
  const taken = { code: 'already_exists', message: /a disk \S+domU-xvdb/, details: { hint: /another host/ } };
  await t.rejects(move('lvm-thin'), taken);
  there.volumes.delete('domU-xvdb');
  await move('qcow2');
  t.ok(seenIn(join(to.root, 'domains', 'domU', 'xvda2.qcow2')).equals(bytes.disk));
  t.ok(existsSync(from.cfgOf('domU')), 'it is taken away by another order');
  if (moved) await to.maker().remove(moved);
  t.strictSame([to.files(), [...there.volumes.keys()]], [before, ['pool']]);
});

t.test('whoever goes in the middle, nothing is left', async (t) => {
  for (const who of ['sender', 'receiver', 'controller'] as const) {
    const { rig, from, to, carry } = await makeWorld(t);
    fillSwap(from.root);
    const before = from.files();
    const [sending, receiving] = [new AbortController(), new AbortController()];
    const go = {
      sender: () => sending.abort(new AppError('unavailable', 'killed')),
      receiver: () => receiving.abort(new AppError('unavailable', 'killed')),
      controller: () => void rig.kill(),
    };
    const tell = (_: string, percent?: number): void => {
      if (percent !== undefined) go[who]();
    };
    const shape: VmShape = who === 'controller' ? {} : { storage: 'qcow2' };
    await t.rejects(
      carry({ tell, shape, sendSignal: sending.signal, signal: receiving.signal }),
      { code: 'unavailable' },
      who,
    );
    t.strictSame([to.files(), from.files()], [[], before], who);
    t.notMatch(readFileSync('/proc/mounts', 'latin1'), to.root, 'no view is left');
  }
});

t.test('a receiver that dies at any step: all of it or nothing after its restart', async (t) => {
  const { from, to, carry, cfgPath, image } = await makeWorld(t);
  const before = from.files();
  const ends: boolean[] = [];
  for (let step = 1; ends.at(-1) !== true; step += 1) {
    let left = step;
    const dead = new Error('dead');
    const mortal = <T extends object>(target: T, names: readonly string[]): T =>
      new Proxy(target, {
        get: (_, name) => {
          const value: unknown = Reflect.get(target, name, target);
          if (typeof value !== 'function') return value;
          return async (...args: unknown[]): Promise<unknown> => {
            if (left <= 0) throw dead;
            if (names.includes(String(name)) && (left -= 1) <= 0) throw dead;
            const result: unknown = await Reflect.apply(value, target, args);
            if (names.includes(String(name)) && (left -= 1) <= 0) throw dead;
            return result;
          };
        },
      });
    const { makerParts } = to;
    const maker = to.maker({
      disks: mortal(makerParts.disks, ['make', 'remove']),
      cfgFolder: mortal(makerParts.cfgFolder, ['add', 'remove']),
      guestDisk: mortal(makerParts.guestDisk, ['renew', 'forget']),
      copies: mortal(makerParts.copies, ['put', 'remove']),
    });
    await carry({ maker }).catch(() => undefined);
    await to.maker().recover();
    const isWhole = existsSync(cfgPath) && existsSync(image);
    ends.push(isWhole);
    if (!isWhole) t.strictSame([to.files(), from.files()], [[], before], `step ${String(step)}: nothing is left`);
  }
  t.ok(ends.length > 8, `${String(ends.length)} steps`);
});

t.test('a VM that moves stays what it was, and leaves nothing behind', async (t) => {
  const { from, to, carry, cfg, source } = await makeWorld(t);
  const disk = join(from.root, 'domains', 'domU', 'disk.img');
  const sum = sha256Of(disk);
  const path = to.cfgOf('domU');
  await carry({ path, isMove: true });
  // Both are one machine here: where the disks were is taken.
  const moved = disk.replace('disk.img', 'domU-disk.img');
  t.equal(sha256Of(moved), sum, 'byte for byte');
  const expected = cfg.replace('/disk.img', '/domU-disk.img').replace('/swap.img', '/domU-swap.img');
  t.equal(readFileSync(path, 'latin1'), expected, 'name, MAC and all else stay');
  await t.rejects(carry({ path, isMove: true }), { code: 'already_exists' }, 'what is there may have changed since');
  const running = { ...(await source()), state: 'running' } as const;
  await t.rejects(from.maker().leave(running), { code: 'wrong_state' });
  await from.maker().leave(await source());
  t.notOk(existsSync(disk) || existsSync(from.cfgOf('domU')));
  t.ok(existsSync(moved), 'what is not its own stays');
  t.equal(sha256Of(moved), sum);
  const copy = await to.observer.find(path);
  if (copy) await to.maker().remove(copy);
  t.strictSame([to.files(), existsSync(moved)], [[], false], 'it may be deleted there: it was made there');
  mkdirSync(join(from.root, 'domains'), { recursive: true });
});

t.test('the controller: copies where there is no such VM are sent there', async (t) => {
  const { world, agents } = await FleetWorld.ofImage(2);
  const [one, two] = agents;
  if (!one || !two) throw new Error('two were asked for');
  const only = one.change('/etc/xen/domU.cfg', { name: 'db', key: '/etc/xen/db.cfg', cfgPath: '/etc/xen/db.cfg' });
  one.vms.set(only.key, only);
  await one.connect();
  const create = (name: string, like: string, hosts: readonly string[]) =>
    collect(world.creator.create({ ...CREATE, name, hosts, source: { kind: 'like', like } }, ADMIN, NEVER));
  const told = await create('far', 'db', ['dom0-2']);
  t.match(told[0], {
    kind: 'plan',
    steps: [{ vm: 'far', host: 'dom0-2', action: 'carry', detail: /^db@dom0-1, sent here/ }],
  });
  t.match(told.at(-1), { kind: 'result', code: undefined, vm: 'far', host: 'dom0-2' });
  t.match(world.vm('far@dom0-2').vifs[0], { mac: world.allLeases()[0]?.mac });
  t.strictSame(
    [one, two].map(({ ran }) => ran.map(({ action }) => action.kind)),
    [['send'], ['receive', 'configure']],
  );
  t.match(one.ran[0]?.action, { needsSeed: false });
  t.match(world.allEvents('vm.created')[0]?.message, 'VM far@dom0-2 was made, a copy of db@dom0-1');
  const both = await create('near', 'db', ['dom0-1', 'dom0-2']).then((all) =>
    all.filter((each) => each.kind === 'result'),
  );
  t.match(both, [{ host: 'dom0-1', code: undefined }], 'one: spread from the first');
  two.behave = (order, agent) =>
    order.action.kind === 'receive'
      ? {
          kind: 'failed',
          code: 'not_found',
          message: 'no file /boot/vmlinuz',
          details: { path: '/boot/vmlinuz' },
          vm: undefined,
        }
      : obey(order, agent);
  t.match((await create('bad', 'db', ['dom0-2'])).at(-1), { code: 'not_found', details: { path: '/boot/vmlinuz' } });
  t.strictSame([world.allLeases().length, world.fleet.vms.byName('bad')], [2, []], 'and nothing is left');
  two.kill();
  await t.rejects(create('bad', 'db', ['dom0-2']), { code: 'unavailable', message: /dom0-2 is not online/ });
  await t.rejects(create('bad', 'none', ['dom0-2']), { code: 'not_found' });
  await t.rejects(create('bad', 'db@dom0-2', ['dom0-1']), { code: 'not_found', message: /no VM db on dom0-2/ });
});

t.test('the controller: room is counted where the files go', async (t) => {
  const world = new FleetWorld();
  const db = imageVm({ key: DB, cfgPath: DB, name: 'db' });
  const [one, two] = [world.host('dom0-1', [db]), world.host('dom0-2', [])];
  const disk = { vmKey: DB, path: '/tmp/vms/db/disk.img', sizeBytes: 4096 * MIB, usedBytes: 2048 * MIB };
  const storesOf = (rootMib: number, tmpMib: number, disks: HostStore['disks'] = []): readonly HostStore[] =>
    [rootMib, tmpMib].map((freeMib, n) => ({
      ...{
        kind: 'file-system',
        name: n === 0 ? '/' : '/tmp',
        type: 'ext4',
        sizeBytes: 9000 * MIB,
        sharesBlocks: false,
      },
      ...{ freeBytes: freeMib * MIB, metadataPercent: undefined, isRecorded: false, recordedReason: '' },
      disks: n === 0 ? [] : disks,
    }));
  one.stores = storesOf(100, 100, [disk]);
  two.stores = storesOf(100, 9000);
  await Promise.all([one.connect(), two.connect()]);
  const source = { kind: 'like', like: 'db' } as const;
  const create = (name: string) =>
    collect(world.creator.create({ ...CREATE, name, hosts: ['dom0-2'], source }, ADMIN, NEVER));
  t.match((await create('far')).at(-1), { code: undefined, vm: 'far', host: 'dom0-2' });
  two.kill();
  two.stores = storesOf(9000, 100);
  await two.connect();
  await t.rejects(create('farther'), { code: 'exhausted' });
});

t.test('the controller: one VM is sent to one host at a time, and no transfer is opened before', async (t) => {
  const world = new FleetWorld();
  const db = imageVm({ key: DB, cfgPath: DB, name: 'db' });
  const [one, two, three] = [world.host('dom0-1', [db]), world.host('dom0-2', []), world.host('dom0-3', [])];
  await Promise.all([one, two, three].map((agent) => agent.connect()));
  const waiting: (() => void)[] = [];
  one.behave = (order, agent) => {
    const outcome = obey(order, agent);
    if (order.action.kind !== 'send' || outcome === 'silent') return outcome;
    waiting.push(() => void agent.session?.result(order.orderId, outcome));
    return 'silent';
  };
  const source = { kind: 'like', like: 'db' } as const;
  const created = ['dom0-2', 'dom0-3'].map((host) =>
    collect(world.creator.create({ ...CREATE, name: `on-${host}`, hosts: [host], source }, ADMIN, NEVER)),
  );
  await settle(60);
  const received = () => [two, three].map(({ ran }) => ran.filter(({ action }) => action.kind === 'receive').length);
  t.strictSame([waiting.length, received()], [1, [1, 0]], 'the second waits for its turn');
  waiting[0]?.();
  await settle(60);
  t.strictSame([waiting.length, received()], [2, [1, 1]]);
  waiting[1]?.();
  const ends = (await Promise.all(created)).map((all) => all.at(-1));
  t.match(ends, [
    { code: undefined, host: 'dom0-2' },
    { code: undefined, host: 'dom0-3' },
  ]);
});
