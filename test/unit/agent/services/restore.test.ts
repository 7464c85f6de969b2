import { pino } from 'pino';
import t from 'tap';
import { AppError } from '../../../../shared/errors.js';
import { parseIpv4 } from '../../../../shared/domain/ipv4.js';
import { parseMac } from '../../../../shared/domain/mac.js';
import { RecordCopyLog } from '../../../../agent/adapters/disk/record-copy-log.js';
import { RecordFormerCfgs } from '../../../../agent/adapters/disk/record-former-cfgs.js';
import { RecordIntentLog } from '../../../../agent/adapters/disk/record-intent-log.js';
import { RecordRenameLog } from '../../../../agent/adapters/disk/record-rename-log.js';
import type { OrderAction } from '../../../../agent/domain/order.js';
import { VmConfigurer } from '../../../../agent/services/configure-vm.js';
import { Observer } from '../../../../agent/services/observe.js';
import { VmRenamer } from '../../../../agent/services/rename-vm.js';
import { MemoryRecordStore } from '../../../fakes/memory-record-store.js';
import { carryOutOf, FakeHost } from '../fake-host.js';

const LOG = pino({ level: 'silent' });
const NEVER = new AbortController().signal;
const RESTORE: OrderAction = { kind: 'restoreFiles' };

function addressAction(n: number): OrderAction {
  const [broadcast, gateway] = [parseIpv4('10.183.255.255'), parseIpv4('10.183.255.254')];
  const settings = { prefixLength: 14, broadcast, gateway, dns: [], domain: '' };
  const [address, mac] = [parseIpv4(`10.180.0.${n}`), parseMac(`00:16:3e:b4:00:0${n}`)];
  return { kind: 'configure', vifs: [{ index: 0, mac, address, settings, hasDefaultRoute: true }], hostname: 'domU' };
}

/** Dies before or after the n-th change of anything; from then on nothing is changed or read any more. */
class Death {
  #left: number;

  constructor(left = Number.POSITIVE_INFINITY) {
    this.#left = left;
  }

  get hasCome(): boolean {
    return this.#left < 0;
  }

  refuse(): void {
    if (this.hasCome) throw new Error('dead');
  }

  tick(): void {
    this.#left -= 1;
    this.refuse();
  }
}

const CHANGING = new Set<PropertyKey>([
  'replace',
  'write',
  'restore',
  'keep',
  'undo',
  'remove',
  'move',
  'follow',
  'set',
]);

function mortal<T extends object>(target: T, death: Death): T {
  return new Proxy(target, {
    get: (_, name) => {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== 'function') return value;
      return async (...args: unknown[]): Promise<unknown> => {
        death.refuse();
        if (CHANGING.has(name)) death.tick();
        const result: unknown = await Reflect.apply(value, target, args);
        if (CHANGING.has(name)) death.tick();
        return typeof result === 'object' && result !== null && 'undo' in result ? mortal(result, death) : result;
      };
    },
  });
}

/** A dom0 with one VM, as a disk keeps it; `agent` is one of those that live there one after the other. */
class Dom0 {
  readonly host = new FakeHost();
  readonly key = this.host.addVm('domU');
  readonly intents = new MemoryRecordStore();
  readonly originals = new MemoryRecordStore();

  agent(death = new Death()): VmConfigurer {
    const host = mortal(this.host, death);
    return new VmConfigurer({
      cfgFolder: host,
      guestDisk: host,
      wire: this.host,
      bridges: this.host,
      intents: new RecordIntentLog(mortal(this.intents, death), LOG),
      formerCfgs: new RecordFormerCfgs(mortal(this.originals, death)),
      log: LOG,
    });
  }

  order(action: OrderAction, configurer = this.agent()) {
    const { host } = this;
    const carryOut = carryOutOf(host, configurer);
    return carryOut({ orderId: 'o', vmKey: this.key, timeoutMs: 1000, action }, () => undefined, NEVER);
  }

  look() {
    return { cfg: this.host.files.get(this.key), guest: this.host.guests.get(this.key) };
  }

  openRecords(): number {
    return this.intents.records.size + this.host.openGuests.size;
  }
}

t.test('gives back what was there before the first write, and may come twice', async (t) => {
  const dom0 = new Dom0();
  const before = dom0.look();
  await dom0.order(addressAction(6));
  await dom0.order(addressAction(7));
  t.notSame(dom0.look(), before);
  t.match(await dom0.order(RESTORE), { vm: { state: 'stopped', vifs: [{ guestAddress: undefined }] }, warnings: [] });
  t.same(dom0.look(), before);
  const calls = dom0.host.calls.length;
  t.same((await dom0.order(RESTORE)).warnings, []);
  t.same(
    dom0.host.calls.slice(calls).filter((call) => call !== 'listDomains'),
    [],
    'an order that comes again is done',
  );
  dom0.host.files.set(dom0.key, before.cfg?.replace('256', '512') ?? '');
  const edited = dom0.look();
  await dom0.order(addressAction(6));
  await dom0.order(RESTORE);
  t.same(dom0.look(), edited, 'as it was before it was written anew');
  t.equal(dom0.openRecords(), 0);
});

t.test('refuses what it cannot give back, and touches nothing', async (t) => {
  const dom0 = new Dom0();
  const before = dom0.look();
  await t.rejects(dom0.order(RESTORE), {
    code: 'not_found',
    message: 'domherd holds no former files of domU: it never wrote any',
    details: { hint: /vm address/ },
  });
  dom0.host.faults.set('write', new AppError('wrong_state', 'in use'));
  await t.rejects(dom0.order(addressAction(7)));
  await t.rejects(dom0.order(RESTORE), { code: 'not_found' }, 'what was undone was no write');
  dom0.host.faults.clear();
  await dom0.order(addressAction(7));
  const written = dom0.look();
  await dom0.host.create(dom0.key);
  await t.rejects(dom0.order(RESTORE), { code: 'wrong_state', details: { hint: 'domherd vm shutdown domU' } });
  t.same(dom0.look(), written);
  dom0.host.domains.clear();
  const abort = new AbortController();
  abort.abort(new AppError('unavailable', 'stopped'));
  const vm = await new Observer(dom0.host, dom0.host, dom0.host).find(dom0.key);
  if (vm === undefined) throw new Error('no VM');
  await t.rejects(
    dom0.agent().restore(vm, () => undefined, abort.signal),
    { code: 'unavailable' },
  );
  t.same([dom0.look(), dom0.openRecords()], [written, 0]);
  await t.rejects(
    dom0.agent().restore({ ...vm, cfgPath: undefined }, () => undefined, NEVER),
    { code: 'wrong_state' },
  );
  await dom0.order(RESTORE);
  t.same(dom0.look(), before);
});

t.test('a cfg that was edited meanwhile is given back too, with a warning', async (t) => {
  const edit = (dom0: Dom0): void => {
    const text = dom0.host.files.get(dom0.key) ?? '';
    dom0.host.files.set(dom0.key, text.replace('memory = 256', 'memory = 512'));
  };
  for (const isWrittenAgain of [false, true]) {
    const dom0 = new Dom0();
    const before = dom0.look();
    await dom0.order(addressAction(6));
    edit(dom0);
    if (isWrittenAgain) await dom0.order(addressAction(7));
    const { warnings } = await dom0.order(RESTORE);
    t.match(warnings, [/^\/xen\/domU\.cfg had been edited since .*backup/]);
    t.same(dom0.look(), before);
  }
});

for (const at of ['restore', 'restore late', 'replace', 'replace late']) {
  t.test(`is undone when there is a fault at: ${at}`, async (t) => {
    const dom0 = new Dom0();
    const before = dom0.look();
    await dom0.order(addressAction(7));
    const written = dom0.look();
    dom0.host.faults.set(at, new AppError('unavailable', 'an I/O error'));
    await t.rejects(dom0.order(RESTORE), { code: 'unavailable' });
    dom0.host.faults.clear();
    await dom0.agent().recover();
    t.same([dom0.look(), dom0.openRecords()], [written, 0]);
    await dom0.order(RESTORE);
    t.same(dom0.look(), before);
  });
}

t.test('death at any step: both old or both new, whichever steps of the undoing die too', async (t) => {
  const base = new Dom0();
  const former = base.look();
  await base.order(addressAction(7));
  const written = base.look();
  const seen = new Set<string>();

  /** @returns whether it died */
  async function dies(dom0: Dom0, ticks: number, work: (agent: VmConfigurer) => Promise<unknown>): Promise<boolean> {
    const death = new Death(ticks);
    await work(dom0.agent(death)).catch(() => undefined);
    return death.hasCome;
  }
  async function die(restoreTicks: number, recoverTicks: number): Promise<{ restore: boolean; recover: boolean }> {
    const dom0 = new Dom0();
    await dom0.order(addressAction(7));
    const restore = await dies(dom0, restoreTicks, (agent) => dom0.order(RESTORE, agent));
    const recover = await dies(dom0, recoverTicks, async (agent) => {
      await agent.recover();
      await agent.settle(dom0.key);
    });
    await dom0.agent().recover();
    await dom0.agent().settle(dom0.key);
    const name = `after ${restoreTicks} steps, and ${recoverTicks} of the recovery`;
    const found = dom0.look();
    const isNew = found.cfg === former.cfg;
    t.same(found, isNew ? former : written, `${name}: both ${isNew ? 'new' : 'old'}`);
    t.equal(dom0.openRecords(), 0, name);
    seen.add(isNew ? 'new' : 'old');
    await dom0.order(RESTORE);
    t.same(dom0.look(), former, `${name}: the order comes again`);
    await dom0.order(addressAction(7));
    await dom0.order(RESTORE);
    t.same(dom0.look(), former, `${name}: nothing is forgotten or left over`);
    return { restore, recover };
  }

  let steps = 0;
  for (let died = { restore: true, recover: true }; died.restore; steps += 1) {
    for (let ticks = 0; (died = await die(steps, ticks)).recover;) ticks += 1;
  }
  t.ok(steps > 10, `${steps} steps`);
  t.same([...seen].sort(), ['new', 'old']);
});

t.test('a guest that ran between a change and its undoing', async (t) => {
  for (const action of [addressAction(7), RESTORE]) {
    const dom0 = new Dom0();
    const before = dom0.look();
    if (action === RESTORE) await dom0.order(addressAction(7));
    const death = new Death(action === RESTORE ? 7 : 5);
    await t.rejects(dom0.order(action, dom0.agent(death)));
    t.ok(death.hasCome && dom0.host.openGuests.size === 1, 'it died between guest and end');
    dom0.host.faults.set('undo', new AppError('raced', 'the guest ran'));
    await dom0.agent().recover();
    t.equal(dom0.openRecords(), 0);
    dom0.host.faults.clear();
    await dom0.order(RESTORE);
    t.same(dom0.look(), before, 'what it was can be given back all the same');
  }
});

t.test('one damaged record hides no other', async (t) => {
  const dom0 = new Dom0();
  const before = dom0.look();
  await t.rejects(dom0.order(addressAction(7), dom0.agent(new Death(5))));
  t.notSame(dom0.look(), before);
  const bytes = Buffer.from('{"cfgPath":');
  dom0.intents.records.set('0bad', bytes);
  const log = pino({ level: 'error' }, { write: (line: string) => void lines.push(line) });
  const lines: string[] = [];
  t.match(await new RecordIntentLog(dom0.intents, log).list(), [{ cfgPath: dom0.key }]);
  t.match(lines, [/0bad\.damaged.*moved aside/]);
  await dom0.agent().recover();
  t.same(dom0.look(), before);
  t.same([...dom0.intents.records], [['0bad.damaged', bytes]], 'it is kept for people');
  t.same(await new RecordIntentLog(dom0.intents, log).list(), []);
  t.equal(lines.length, 1, 'told once');

  dom0.intents.records.set('1bad', bytes);
  dom0.intents.fault = new AppError('unavailable', 'full');
  t.same(await new RecordIntentLog(dom0.intents, log).list(), [], 'though it cannot be moved now');
  t.ok(dom0.intents.records.has('1bad'));
});

t.test('what is kept of a cfg, when its record is damaged', async (t) => {
  const dom0 = new Dom0();
  await dom0.order(addressAction(7));
  const [key = ''] = dom0.originals.records.keys();
  dom0.originals.records.set(key, Buffer.from('{'));
  const written = dom0.look();
  await t.rejects(dom0.order(RESTORE), { code: 'wrong_state', details: { hint: new RegExp(`cfg-originals/${key}`) } });
  t.same(dom0.look(), written);
});

/** A VM that was made here, addressed, and starts when its host boots; it is to be called "web". */
class NamedDom0 extends Dom0 {
  readonly copies = new MemoryRecordStore();
  readonly renames = new MemoryRecordStore();
  readonly to = '/xen/web.cfg';

  static async ofCopy(): Promise<NamedDom0> {
    const dom0 = new NamedDom0();
    const { host, key: cfgPath } = dom0;
    await new RecordCopyLog(dom0.copies).put({ cfgPath, cfgText: '', disks: [], isWhole: true });
    await dom0.order(addressAction(7));
    host.started.add(cfgPath);
    return dom0;
  }

  renamer(death = new Death()): VmRenamer {
    const host = mortal(this.host, death);
    return new VmRenamer({
      ...{ cfgFolder: host, guestDisk: host, configurer: this.agent(death), log: LOG },
      autostart: mortal(this.host.autostart, death),
      formerCfgs: new RecordFormerCfgs(mortal(this.originals, death)),
      copies: new RecordCopyLog(mortal(this.copies, death)),
      renames: new RecordRenameLog(mortal(this.renames, death)),
    });
  }

  async rename(death?: Death): Promise<readonly string[]> {
    const vm = await new Observer(this.host, this.host, this.host).find(this.key);
    const { vifs } = addressAction(7) as Extract<OrderAction, { kind: 'configure' }>;
    const order = { name: 'web', cfgPath: this.to, guest: { vifs, hostname: 'web' } };
    return this.renamer(death).rename(vm!, order, () => undefined, NEVER);
  }

  /** All that carries its name, each told by what it leads to. */
  async names() {
    const { host } = this;
    const former = new RecordFormerCfgs(this.originals);
    const kept = await Promise.all([this.key, this.to].map((path) => former.find(path)));
    return {
      files: [...host.files.keys()],
      cfgs: [...host.files.values()].map((text) => /name = '(.*)'/.exec(text)?.[1]),
      guests: [...host.guests].map(([path, { hostname, addresses }]) => [path, hostname, addresses.size]),
      originals: [...host.originalGuests.keys()],
      former: kept.map((one) => one?.kind === 'kept' && /name = '(.*)'/.exec(one.text)?.[1]),
      copies: (await new RecordCopyLog(this.copies).list()).map(({ cfgPath, isWhole }) => [cfgPath, isWhole]),
      started: [...host.started],
      open: this.openRecords() + this.renames.records.size,
    };
  }
}

t.test('a VM is renamed with all that carries its name; death at any step leaves the old or the new one', async (t) => {
  const base = await NamedDom0.ofCopy();
  const before = await base.names();
  t.same(await base.rename(), []);
  const renamed = await base.names();
  t.strictSame(renamed, {
    ...{ files: ['/xen/web.cfg'], cfgs: ['web'], guests: [['/xen/web.cfg', 'web', 1]], originals: ['/xen/web.cfg'] },
    ...{ former: [false, 'web'], copies: [['/xen/web.cfg', true]], started: ['/xen/web.cfg'], open: 0 },
  });
  const seen = new Set<string>();
  let steps = 0;
  for (let died = true; died; steps++) {
    const dom0 = await NamedDom0.ofCopy();
    const death = new Death(steps);
    await dom0.rename(death).catch(() => undefined);
    died = death.hasCome;
    // Whoever comes next may die too.
    for (const ticks of [3, 9, undefined]) {
      const next = new Death(ticks);
      await dom0.agent(next).recover();
      await dom0.renamer(next).recover();
    }
    const names = await dom0.names();
    const isNew = names.files[0] === dom0.to;
    t.strictSame(names, isNew ? renamed : before, `death at step ${String(steps)}`);
    seen.add(isNew ? 'new' : 'old');
    if (isNew) continue;
    await dom0.rename();
    t.strictSame(await dom0.names(), renamed, 'and it can be renamed then');
  }
  t.ok(steps > 30, `${String(steps)} steps`);
  t.strictSame([...seen], ['old', 'new']);
});

t.test('a rename that cannot be leaves everything, and one that comes again is done', async (t) => {
  const dom0 = await NamedDom0.ofCopy();
  const { host } = dom0;
  const before = await dom0.names();
  host.files.set(dom0.to, "name = 'x'\n");
  await t.rejects(dom0.rename(), { code: 'already_exists', message: /web\.cfg/ });
  host.files.delete(dom0.to);
  host.faults.set('write', new AppError('wrong_state', 'in use'));
  await t.rejects(dom0.rename(), { code: 'wrong_state' });
  host.faults.clear();
  await host.create(dom0.key);
  await t.rejects(dom0.rename(), { code: 'wrong_state', details: { hint: 'domherd vm shutdown domU' } });
  host.domains.clear();
  t.strictSame(await dom0.names(), before);
  const action: OrderAction = { kind: 'rename', name: 'web', cfgPath: dom0.to, guest: { vifs: [], hostname: 'web' } };
  host.guests.clear();
  t.match(await dom0.order(action), { vm: { key: dom0.to, name: 'web' }, warnings: [/cannot be looked into/] });
  const files = [...host.files];
  t.match(await dom0.order(action), { vm: { key: dom0.to, name: 'web' }, warnings: [] });
  t.strictSame([...host.files], files);
  await t.rejects(dom0.order({ ...action, name: 'db', cfgPath: '/xen/db.cfg' }), { code: 'not_found' });
});
