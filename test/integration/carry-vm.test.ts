import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { CopySettings } from '../../agent/domain/copy-plan.js';
import type { ObservedVm } from '../../agent/domain/vm.js';
import { AppError } from '../../shared/errors.js';
import type { CreateRequest } from '../../controller/services/vm-creator.js';
import { obey } from '../fakes/fake-agent.js';
import { ADMIN, collect, FleetWorld } from '../fakes/fleet-world.js';
import { addDomU, makeCarryDom0 } from '../harness/carry-rig.js';
import { readInImage } from '../harness/guest-image.js';
import { openTransferRig, sha256Of } from '../harness/transfer-rig.js';

const CREATE: Omit<CreateRequest, 'name' | 'hosts' | 'source'> = {
  ...{ count: undefined, placement: 'spread', shape: {}, reservation: undefined, bridge: undefined, isDryRun: false },
  ...{ labels: {}, apart: undefined, isStarted: false },
};
const NEVER = new AbortController().signal;
const SILENT = (): void => undefined;
const WEB: CopySettings = {
  ...{ name: 'web-1', uuid: '3d5c1f0a-0001-4000-8000-000000000001' },
  shape: { memoryMib: 300 },
};

/** Two dom0s and a controller between them, over TLS. The second one has what it sees of the first one's disks as its own. */
async function makeWorld(t: Test, cfgExtra = '') {
  const rig = await openTransferRig(t);
  const folder = t.testdir();
  const [from, to] = await Promise.all(
    ['dom0-1', 'dom0-2'].map(async (host) => makeCarryDom0(join(folder, host), await rig.linkOf(host))),
  );
  if (!from || !to) throw new Error('two were asked for');
  const cfg = addDomU(from, cfgExtra);
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
    const sent = from.sender.send(await source(), transfer.id, SILENT, sendSignal).catch(failed);
    const copy = options.isMove ? undefined : WEB;
    const warnings = await to.receiver(maker).receive(path, transfer.id, copy, tell, signal).catch(failed);
    const isThere = warnings !== undefined;
    // As the controller does: whoever has what it needs takes no more.
    transfer.close();
    await sent;
    if (!isThere) throw first?.reason;
    return warnings;
  };
  const image = join(from.root, 'domains', 'web-1', 'disk.img');
  return { rig, from, to, cfg, source, carry, cfgPath, image };
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
  await withCfg(cfg.replace('file:', 'format=qcow2,vdev=xvdb,access=rw,target='), { code: 'invalid' });
  await withCfg(cfg.replace(/file:\S+swap.img/, 'phy:/dev/vg/swap'), { code: 'invalid', message: /no raw image file/ });
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
    await t.rejects(
      carry({ tell, sendSignal: sending.signal, signal: receiving.signal }),
      { code: 'unavailable' },
      who,
    );
    t.strictSame([to.files(), from.files()], [[], before], who);
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
