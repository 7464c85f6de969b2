import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import t, { type Test } from 'tap';
import { DirAutostart } from '../../agent/adapters/disk/dir-autostart.js';
import { DirRecordStore } from '../../agent/adapters/disk/dir-record-store.js';
import { RecordFormerCfgs } from '../../agent/adapters/disk/record-former-cfgs.js';
import { HostDiskStore } from '../../agent/adapters/disk/host-disk-store.js';
import { RecordCopyLog } from '../../agent/adapters/disk/record-copy-log.js';
import { planCopy, type CopySettings } from '../../agent/domain/copy-plan.js';
import { neededBytes, type DiskSource, type NewDisk, type KeptAs } from '../../agent/domain/new-disk.js';
import type { DiskKind, StorageFacts } from '../../agent/domain/storage-choice.js';
import type { ObservedVm } from '../../agent/domain/vm.js';
import { listDisks, setDiskTarget } from '../../agent/domain/xl-cfg/disk.js';
import { parseXlCfg } from '../../agent/domain/xl-cfg/xl-cfg.js';
import { VmMaker } from '../../agent/services/vm-maker.js';
import { AppError } from '../../shared/errors.js';
import { createExec } from '../../shared/exec.js';
import { makeConfigureRig, settingsOf, stoppedVm } from '../harness/configure-rig.js';
import { makeCopier } from '../harness/copier.js';
import { DEBIAN, makeImage, ownershipInImage, readInImage } from '../harness/guest-image.js';

const LOG = pino({ level: 'silent' });
const MIB = 1024 * 1024;
const NEVER = new AbortController().signal;
const MINE = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKYnmmOsCJEGsI325IjJzdvLDKHTcjouAb7EMdr0SFda';
const WEB: CopySettings = {
  name: 'web-1',
  uuid: '3d5c1f0a-0001-4000-8000-000000000001',
  shape: { memoryMib: 300, vcpus: 2, authorizedKeys: [`${MINE} me@frontend`] },
};

t.test('the plan of a copy', (t) => {
  const source = stoppedVm('/etc/xen/domU.cfg');
  const text = `# the tutorial's own
memory = '512'
maxmem = 256
vcpus = '1'
disk = [
   'file:/opt/xen/domains/domU/disk.img,xvda2,w', # root
   'format=raw, vdev=xvdb, access=rw, target=/srv/domU-data.img',
   'file:/srv/scratch,xvdc,w',
   'file:/iso/debian.iso,hdc:cdrom,r',
   'file:/srv/shared.img,xvdd,r' ]
name = "domU" ; uuid = '00000000-0000-0000-0000-000000000001'
vif = [ 'mac=00:16:3E:1E:5B:0C, bridge=xenbr0, ip=10.0.0.1' ]
`;
  const { cfg, disks } = planCopy(source, parseXlCfg(text), WEB, factsOf(text));
  t.strictSame(disks, [
    copyOf('/opt/xen/domains/domU/disk.img', '/opt/xen/domains/web-1/disk.img'),
    copyOf('/srv/domU-data.img', '/srv/web-1-data.img'),
    copyOf('/srv/scratch', '/srv/web-1-scratch'),
  ]);
  t.equal(
    cfg.text,
    text
      .replace("memory = '512'", "memory = '300'")
      .replace('maxmem = 256', 'maxmem = 300')
      .replace("vcpus = '1'", "vcpus = '2'")
      .replace('domains/domU/', 'domains/web-1/')
      .replace('domU-data', 'web-1-data')
      .replace('/srv/scratch', '/srv/web-1-scratch')
      .replace('"domU"', '"web-1"')
      .replace('00000000-0000-0000-0000-000000000001', WEB.uuid)
      .replace(/mac=\S+ bridge=xenbr0, ip=10.0.0.1/, 'bridge=xenbr0'),
    'nothing else changes',
  );
  const more = planCopy(
    source,
    parseXlCfg(text),
    { ...WEB, shape: { swapMib: 8, extraDisksMib: [10, 20], diskMib: 99 } },
    factsOf(text),
  );
  t.strictSame(more.disks, [
    { ...copyOf('/opt/xen/domains/domU/disk.img', '/opt/xen/domains/web-1/disk.img'), sizeBytes: 99 * MIB },
    copyOf('/srv/domU-data.img', '/srv/web-1-data.img'),
    { source: { kind: 'swap', bytes: 8 * MIB }, place: { path: '/srv/web-1-scratch', storage: 'copy' } },
    {
      source: { kind: 'blank', bytes: 10 * MIB },
      place: { path: '/opt/xen/domains/web-1/data-1.img', storage: 'copy' },
    },
    {
      source: { kind: 'blank', bytes: 20 * MIB },
      place: { path: '/opt/xen/domains/web-1/data-2.img', storage: 'copy' },
    },
  ]);
  t.match(
    more.cfg.text,
    /shared\.img,xvdd,r', 'format=raw,vdev=xvde,access=rw,target=\S+data-1\.img', 'format=raw,vdev=xvdf/,
  );
  const plain = `name='domU'\ndisk=["phy:/srv/a.img,xvda,w"]\n`;
  const swapped = planCopy(source, parseXlCfg(plain), { ...WEB, shape: { swapMib: 8 } }, factsOf(plain));
  t.strictSame(swapped.disks[1], {
    source: { kind: 'swap', bytes: 8 * MIB },
    place: { path: '/srv/web-1-swap.img', storage: 'copy' },
  });
  t.match(
    swapped.cfg.text,
    /"phy:\/srv\/web-1-a\.img,xvda,w", "format=raw,vdev=xvdb,access=rw,target=\/srv\/web-1-swap\.img"/,
  );
  t.throws(() => planCopy(source, parseXlCfg("name='domU'\n"), { ...WEB, shape: { swapMib: 8 } }, factsOf('')), {
    code: 'invalid',
  });
  const nics = planCopy(source, parseXlCfg(text), { ...WEB, shape: { extraVifs: ['br1', 'xenbr2'] } }, factsOf(text));
  t.match(nics.cfg.text, /vif = \[ 'bridge=xenbr0', 'bridge=br1', 'bridge=xenbr2' \]\n/);
  for (const [cfg, bridges] of [
    [text, Array.from({ length: 8 }, () => 'br1')],
    [text, ['br1,mac=00:16:3e:00:00:01']],
    ["name='domU'\n", ['br1']],
  ] as const) {
    const shape = { extraVifs: bridges };
    t.throws(() => planCopy(source, parseXlCfg(cfg), { ...WEB, shape }, factsOf(cfg)), { code: 'invalid' });
  }
  const as = planCopy(source, parseXlCfg("name='domU'\n"), { ...WEB, shape: {} }, factsOf(''));
  t.equal(as.cfg.text, "name='web-1'\n", 'no uuid where there was none');
  for (const [disk, says] of [
    ["'phy:/dev/vg/a,xvda,w'", /neither an image file nor a logical volume/],
    ["'format=vhd,vdev=xvda,target=/a'", /no raw image: vhd/],
    ["'file:/a,xvda,w', 'file:/dev/loop0,xvdb,w'", /neither an image file nor a logical volume/],
  ] as const) {
    const cfg = `name='domU'\ndisk=[${disk}]\n`;
    t.throws(() => planCopy(source, parseXlCfg(cfg), WEB, factsOf(cfg)), {
      code: 'invalid',
      message: says,
    });
  }
  const running = { ...source, state: 'running' } as const;
  t.throws(() => planCopy(running, parseXlCfg(text), WEB, factsOf(text)), {
    code: 'wrong_state',
    details: { hint: /shutdown/ },
  });
  t.end();
});

t.test('the target of a disk', (t) => {
  const cfg = parseXlCfg(`disk = [ "file:/a\\"b,xvda,w" , 'file:xvdb,xvdb,w', 'vdev=hdc,target=/x, y' ]`);
  t.equal(listDisks(setDiskTarget(cfg, 0, '/new'))[0]?.target, '/new');
  t.throws(() => setDiskTarget(cfg, 1, '/new'), { code: 'invalid', message: /cannot be told from the rest/ });
  t.throws(() => setDiskTarget(cfg, 0, '/n w'), { code: 'invalid' });
  t.throws(() => setDiskTarget(cfg, 7, '/new'), { code: 'not_found' });
  t.end();
});

const HOST_KEY = { text: 'an old key\n', mode: 0o600 };
const GUEST = {
  ...DEBIAN,
  '/etc/ssh/ssh_host_ed25519_key': HOST_KEY,
  '/etc/ssh/ssh_host_ed25519_key.pub': 'ssh-ed25519 old root@domU\n',
  '/etc/ssh/ssh_host_rsa_key': HOST_KEY,
  '/etc/ssh/ssh_host_rsa_key.pub': 'ssh-rsa old root@domU\n',
  '/etc/ssh/ssh_host_dsa_key': HOST_KEY,
  '/etc/fstab': '/dev/xvda2 / ext4 defaults 0 1',
  '/root/.ssh/deploy': '-----BEGIN OPENSSH PRIVATE KEY-----\n',
  '/etc/machine-id': '0123456789abcdef0123456789abcdef\n',
  '/var/lib/dbus/machine-id': '0123456789abcdef0123456789abcdef\n',
};

/** The same object, but for some of its functions. */
function override<T extends object>(target: T, functions: Partial<T>): T {
  return new Proxy(target, {
    get: (_, name) => {
      const value: unknown = Reflect.get(name in functions ? functions : target, name);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}

/** All of its disks are files, but for devices. */
function factsOf(text: string): StorageFacts {
  const kindOf = (target: string): DiskKind =>
    target.startsWith('/dev/') ? { kind: 'device' } : { kind: 'file', canReflink: false };
  const disks = new Map(listDisks(parseXlCfg(text)).map(({ target }) => [target, kindOf(target)]));
  return { disks, swaps: new Set(['/srv/scratch']), groups: [], overlayRefusal: undefined };
}

function copyOf(from: string, to: string): NewDisk {
  const reason = `the file system of ${from.replace(/\/[^/]*$/, '')} cannot share blocks`;
  return { source: { kind: 'copy', path: from, format: 'raw' }, place: { path: to, storage: 'copy' }, reason };
}

/** A dom0 with the tutorial's domU, on real disks. */
function makeDom0(t: Test) {
  const root = t.testdir({ xen: {}, domains: { domU: {} } });
  const disk = join(root, 'domains', 'domU', 'disk.img');
  makeImage(disk, GUEST, { size: '64M' });
  const cfgPath = join(root, 'xen', 'domU.cfg');
  const cfg = `name='domU'\nmemory=256\ndisk=['file:${disk},xvda2,w']\nroot='/dev/xvda2 ro'\nvif=['mac=00:16:3e:1e:5b:0c']\n`;
  writeFileSync(cfgPath, cfg);
  const exec = createExec(process.env);
  const rig = makeConfigureRig(root, exec);
  const records = new DirRecordStore(join(root, 'copies'));
  const formerCfgs = new RecordFormerCfgs(rig.originals);
  const copies = new RecordCopyLog(records);
  const autostart = new DirAutostart(join(root, 'xen', 'auto'));
  const parts = { autostart, cfgFolder: rig.cfgFolder, guestDisk: rig.guestDisk, formerCfgs, copies, log: LOG };
  const disks = new HostDiskStore(exec);
  const path = join(root, 'xen', 'web-1.cfg');
  const image = join(root, 'domains', 'web-1', 'disk.img');
  const files = (): readonly string[] =>
    ['xen', 'domains', 'copies', 'guest-changes', 'guest-originals', 'cfg-originals'].flatMap((folder) =>
      existsSync(join(root, folder)) ? readdirSync(join(root, folder), { recursive: true }).map(String).sort() : [],
    );
  const maker = (change: Partial<typeof parts & { disks: HostDiskStore }> = {}) =>
    new VmMaker({ ...parts, disks, ...change });
  const copy = (by = maker(), from = source, tell: (message: string) => void = () => undefined, signal = NEVER) =>
    makeCopier(root, { cfgFolder: rig.cfgFolder, disks, maker: by }).copy(from, path, WEB, tell, signal);
  const source: ObservedVm = stoppedVm(cfgPath);
  return { autostart, root, rig, disks, parts, records, path, image, files, maker, copy, source };
}

t.test('a copy is a machine of its own, and goes without a trace', async (t) => {
  const { maker, copy: make, source, path, image, files, rig, root } = makeDom0(t);
  const before = files();
  const original = readFileSync(join(root, 'domains', 'domU', 'disk.img'));
  const warnings = await make();
  t.match(warnings, [/ssh_host_dsa_key is the source's too/]);
  t.equal(readInImage(image, '/root/.ssh/authorized_keys'), `${MINE} me@frontend\n`);
  t.equal(ownershipInImage(image, '/root/.ssh/authorized_keys'), '0600 0 0');
  t.equal(ownershipInImage(image, '/root/.ssh'), '0700 0 0');
  t.equal(statSync(image).mode & 0o777, 0o600, "a guest's disk is nobody else's business");
  t.ok(statSync(image).blocks * 512 < 40 * 1024 * 1024, 'holes stay holes');
  t.match(
    readFileSync(path, 'latin1'),
    /name='web-1'\nmemory=300\n[^]*domains\/web-1\/disk\.img[^]*vif=\[''\]\nvcpus = 2/,
  );
  for (const type of ['ed25519', 'rsa']) {
    const text = readInImage(image, `/etc/ssh/ssh_host_${type}_key.pub`);
    t.match(text, new RegExp(`^ssh-${type} AAAA\\S+ root@web-1\n$`));
    const key = join(root, type);
    writeFileSync(key, readInImage(image, `/etc/ssh/ssh_host_${type}_key`), { mode: 0o600 });
    const said = execFileSync('ssh-keygen', ['-y', '-f', key]).toString();
    t.equal(said.split(' ')[1], text.split(' ')[1], 'private and public key belong together');
    t.equal(ownershipInImage(image, `/etc/ssh/ssh_host_${type}_key`), '0600 0 0');
  }
  const known = await rig.guestDisk.read({
    name: 'web-1',
    cfgPath: path,
    cfg: parseXlCfg(readFileSync(path, 'latin1')),
  });
  t.strictSame(
    known?.hostKeys,
    ['ed25519', 'rsa'].map((type) =>
      readInImage(image, `/etc/ssh/ssh_host_${type}_key.pub`).split(' ').slice(0, 2).join(' '),
    ),
    'what its host tells of it',
  );
  t.equal(readInImage(image, '/etc/machine-id'), '');
  t.equal(readInImage(image, '/var/lib/dbus/machine-id'), '');
  execFileSync('e2fsck', ['-fn', image], { stdio: 'pipe' });
  t.ok(readFileSync(join(root, 'domains', 'domU', 'disk.img')).equals(original), 'the source is as it was');

  t.strictSame(await make(), [], 'repeated: done');
  const copy = { ...stoppedVm(path), name: 'web-1' };
  await rig.configurer.configure(copy, settingsOf(5), () => undefined, NEVER);
  t.match(readInImage(image, '/etc/network/interfaces'), /address 10\.180\.0\.5/);
  await t.rejects(maker().remove({ ...copy, state: 'running' }), {
    code: 'wrong_state',
    details: { hint: /shutdown/ },
  });
  await t.rejects(maker().remove(source), { code: 'wrong_state', message: /not made by domherd/ });
  await maker().remove(copy);
  t.strictSame(files(), before, 'nothing is left');
});

t.test('a larger disk has a larger file system, and swap space is in fstab', async (t) => {
  const { root, maker, disks, rig, source, path, image } = makeDom0(t);
  const copier = makeCopier(root, { cfgFolder: rig.cfgFolder, disks, maker: maker() });
  const said: string[] = [];
  const shape = { diskMib: 200, swapMib: 8 };
  await copier.copy(source, path, { ...WEB, shape }, (message) => said.push(message), NEVER);
  t.ok(said.includes('grow its file system'));
  const header = execFileSync('dumpe2fs', ['-h', image], { stdio: ['ignore', 'pipe', 'ignore'] }).toString();
  const [blocks, size] = [/Block count: +(\d+)/, /Block size: +(\d+)/].map((what) => Number(what.exec(header)?.[1]));
  t.equal(blocks! * size!, 200 * MIB);
  execFileSync('e2fsck', ['-fn', image], { stdio: 'pipe' });
  const swap = listDisks(parseXlCfg(readFileSync(path, 'latin1'))).find(({ target }) => /swap[^/]*$/.test(target));
  t.match(readInImage(image, '/etc/fstab'), new RegExp(`^/dev/${swap!.vdev} none swap sw 0 0$`, 'm'));
});

t.test('what cannot be made is refused, with nothing left', async (t) => {
  const { maker, copy, disks, source, path, image, files, parts, root } = makeDom0(t);
  const before = files();
  const refuses = async (work: Promise<unknown>, error: { code: string; message?: RegExp | string }): Promise<void> => {
    await t.rejects(work, error);
    t.strictSame(files(), before);
  };
  await refuses(copy(maker(), { ...source, state: 'running' }), { code: 'wrong_state' });
  const full = override(disks, { roomFor: () => Promise.resolve({ store: '/', freeBytes: 1000 }) });
  await refuses(copy(maker({ disks: full })), { code: 'exhausted', message: /needs \d+ MiB, 1 MiB are free/ });
  const needed = await copy(maker({ disks: full })).catch((error: AppError) => Number(error.details['needed']));
  const tight = override(disks, { roomFor: () => Promise.resolve({ store: '/', freeBytes: Number(needed) - 1 }) });
  await refuses(copy(maker({ disks: tight })), { code: 'exhausted' });
  t.ok(Number(needed) < 100 * MIB, 'of a store that keeps nothing free no more is asked than is taken');
  mkdirSync(join(root, 'domains', 'web-1'));
  writeFileSync(image, 'of somebody else');
  await t.rejects(copy(), { code: 'already_exists', message: /web-1\/disk\.img/ });
  t.equal(readFileSync(image, 'utf8'), 'of somebody else');
  execFileSync('rm', ['-r', join(root, 'domains', 'web-1')]);
  writeFileSync(path, "name='hand made'\n");
  await t.rejects(copy(), { code: 'already_exists' });
  execFileSync('rm', [path]);
  for (const at of ['renew', 'add'] as const) {
    const fail = (): Promise<never> => Promise.reject(new AppError('unavailable', `no ${at}`));
    const change =
      at === 'renew'
        ? { guestDisk: override(parts.guestDisk, { renew: fail }) }
        : { cfgFolder: override(parts.cfgFolder, { add: fail }) };
    await refuses(copy(maker(change)), { code: 'unavailable', message: `no ${at}` });
  }
  const abort = new AbortController();
  const stop = (): void => abort.abort(new AppError('unavailable', 'cancelled'));
  await refuses(
    copy(maker(), source, (message) => message.startsWith('make it') && stop(), abort.signal),
    { code: 'unavailable' },
  );
});

t.test('death at any step: all of it or nothing, also of the removal', async (t) => {
  const { maker, copy: make, disks, parts, path, files, image } = makeDom0(t);
  const before = files();
  const copy = { ...stoppedVm(path), name: 'web-1' };
  let ends: readonly boolean[] = [];
  for (let step = 1; ; step += 1) {
    let left = step;
    const dead = new Error('dead');
    /** Dies before or after the n-th thing that is done to the host. */
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
    const dying = maker({
      disks: mortal(disks, ['make', 'remove']),
      cfgFolder: mortal(parts.cfgFolder, ['add', 'remove']),
      guestDisk: mortal(parts.guestDisk, ['renew', 'forget']),
      copies: mortal(parts.copies, ['put', 'remove']),
    });
    const isDone = await make(dying).then(
      () =>
        dying.remove(copy).then(
          () => true,
          () => false,
        ),
      () => false,
    );
    await maker().recover();
    const isWhole = existsSync(path) && existsSync(image);
    ends = [...ends, isWhole];
    if (!isWhole) t.strictSame(files(), before, `step ${String(step)}: nothing is left`);
    else {
      t.ok(await parts.copies.find(path), `step ${String(step)}: it is whole, and known`);
      await maker().remove(copy);
      t.strictSame(files(), before);
    }
    if (isDone) break;
    if (step > 60) throw new Error('it never ends');
  }
  t.ok(ends.length > 12 && ends.includes(true) && ends.includes(false), 'each end was seen');
});

t.test('records: of paths alone, as they once were; a damaged one is told', async (t) => {
  const { records, parts, root } = makeDom0(t);
  const disks = ['/opt/xen/domains/web-1/disk.img'];
  const former = { cfgPath: join(root, 'xen', 'web-1.cfg'), cfgText: '', disks, isWhole: true };
  await records.write('b'.repeat(40), Buffer.from(JSON.stringify(former)));
  t.strictSame(await parts.copies.list(), [{ ...former, disks: [{ path: disks[0], storage: 'copy' }] }]);
  await records.write('a'.repeat(40), Buffer.from('{'));
  await t.rejects(parts.copies.list(), { code: 'wrong_state' });
});

t.test('disks of every source', async (t) => {
  const root = t.testdir({});
  const disks = new HostDiskStore(createExec(process.env));
  const raw = join(root, 'base.img');
  const qcow2 = join(root, 'base.qcow2');
  makeImage(raw, GUEST, { size: '16M' });
  execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, qcow2]);
  const make = async (source: DiskSource, sizeBytes?: number): Promise<Buffer> => {
    const place = { path: join(root, 'web-1', `${source.kind}.img`), storage: 'copy' } as const;
    await disks.make({ source, place, sizeBytes }, NEVER);
    const bytes = readFileSync(place.path);
    t.equal(statSync(place.path).mode & 0o777, 0o600);
    await t.rejects(disks.make({ source, place }, NEVER), { code: 'already_exists' });
    t.ok(bytes.equals(readFileSync(place.path)), 'what is there is left alone');
    await disks.remove(place);
    t.notOk(existsSync(join(root, 'web-1')));
    return bytes;
  };
  const base = readFileSync(raw);
  t.ok((await make({ kind: 'copy', path: raw, format: 'raw' })).equals(base));
  t.ok((await make({ kind: 'image', path: raw, format: 'raw' })).equals(base));
  const grown = await make({ kind: 'image', path: qcow2, format: 'qcow2' }, 20 * MIB);
  t.ok(grown.subarray(0, base.length).equals(base), 'a qcow2 becomes raw');
  t.equal(grown.length, 20 * MIB, 'and longer');
  t.ok((await make({ kind: 'blank', bytes: 3 * MIB })).equals(Buffer.alloc(3 * MIB)));
  t.equal((await make({ kind: 'swap', bytes: MIB })).subarray(4086, 4096).toString(), 'SWAPSPACE2');
  await t.rejects(make({ kind: 'image', path: join(root, 'none.qcow2'), format: 'qcow2' }), {
    code: 'unavailable',
    details: { output: /none\.qcow2/ },
  });
  const bare = new HostDiskStore(createExec({ PATH: root }));
  const place = { path: join(root, 'x.img'), storage: 'copy' } as const;
  await t.rejects(bare.make({ source: { kind: 'image', path: qcow2, format: 'qcow2' }, place }, NEVER), {
    code: 'unavailable',
    details: { hint: /qemu-utils/ },
  });
});

t.test('the room that disks need', (t) => {
  const found = { sizeBytes: 10 * MIB, usedBytes: 4 * MIB };
  const copy: DiskSource = { kind: 'copy', path: '/a', format: 'raw' };
  const need = (source: DiskSource, storage: KeptAs, sizeBytes?: number): number =>
    neededBytes({ source, place: { path: '/b', storage }, sizeBytes }, 'path' in source ? found : undefined) / MIB;
  t.equal(need(copy, 'copy'), 4, 'holes need none');
  t.equal(need(copy, 'copy', 30 * MIB), 24, 'what is added counts');
  t.equal(need(copy, 'lvm', 30 * MIB), 30);
  t.equal(Math.round(need(copy, 'lvm-snapshot')), 14, 'so that it can never run full');
  t.equal(need(copy, 'qcow2', 30 * MIB), 64, 'an overlay needs little');
  t.equal(need({ kind: 'image', path: '/a', format: 'qcow2' }, 'copy'), 10, 'nobody knows what is in it');
  t.equal(need({ kind: 'image', path: '/a', format: 'raw' }, 'copy'), 4);
  t.equal(need({ kind: 'image', path: '/a', format: 'raw' }, 'lvm-thin'), 68, 'what is written at once counts');
  t.equal(need(copy, 'lvm-thin'), 68);
  t.equal(need({ ...copy, path: '/dev/vg0/a' }, 'lvm-thin'), 64, 'a thin snapshot shares');
  t.equal(Math.round(need({ kind: 'image', path: '/a', format: 'raw' }, 'qcow2', 30 * MIB)), 68);
  t.equal(need({ kind: 'swap', bytes: 8 * MIB }, 'copy'), 8);
  t.end();
});
