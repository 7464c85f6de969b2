// An async function of a fake turns what it throws into a rejection, as the real one's do.
/* eslint-disable @typescript-eslint/require-await */
import { pino } from 'pino';
import t from 'tap';
import { AppError } from '../../../../shared/errors.js';
import { parseIpv4 } from '../../../../shared/domain/ipv4.js';
import { parseMac } from '../../../../shared/domain/mac.js';
import type { Order, OrderAction, OrderProgress, OrderResult } from '../../../../agent/domain/order.js';
import { RecordFormerCfgs } from '../../../../agent/adapters/disk/record-former-cfgs.js';
import { RecordIntentLog } from '../../../../agent/adapters/disk/record-intent-log.js';
import { RecordRestartLog } from '../../../../agent/adapters/disk/record-restart-log.js';
import type { Guest } from '../../../../agent/ports/guest-disk.js';
import { VmConfigurer } from '../../../../agent/services/configure-vm.js';
import { Observer } from '../../../../agent/services/observe.js';
import { OrderRunner, type CarryOut } from '../../../../agent/services/order-runner.js';
import { ResultOutbox } from '../../../../agent/services/result-outbox.js';
import { sleep } from '../../../../agent/services/sleep.js';
import { MemoryRecordStore } from '../../../fakes/memory-record-store.js';
import { bridgesOf, carryOutOf, FakeHost, MemoryJournal } from '../fake-host.js';
import { ManualClock, settle } from '../manual-clock.js';

const LOG = pino({ level: 'silent' });
const NEVER = new AbortController().signal;
const ADDRESS = parseIpv4('10.180.0.7');
const MAC = parseMac('00:16:3e:b4:00:07');

function configureAction(index = 0): OrderAction {
  const settings = {
    prefixLength: 14,
    broadcast: parseIpv4('10.183.255.255'),
    gateway: parseIpv4('10.183.255.254'),
    dns: [],
    domain: '',
  };
  const vif = { index, mac: MAC, address: ADDRESS, settings, hasDefaultRoute: true };
  return { kind: 'configure', vifs: [vif], hostname: 'domU' };
}

function order(orderId: string, vmKey: string, action: OrderAction = { kind: 'start' }, timeoutMs = 10_000): Order {
  return { orderId, vmKey, timeoutMs, action };
}

function makeConfigurer(
  host: FakeHost,
  records = new MemoryRecordStore(),
  originals = new MemoryRecordStore(),
): VmConfigurer {
  return new VmConfigurer({
    cfgFolder: host,
    guestDisk: host,
    wire: host,
    bridges: host,
    intents: new RecordIntentLog(records, LOG),
    formerCfgs: new RecordFormerCfgs(originals),
    log: LOG,
  });
}

interface RunnerRig {
  readonly clock: ManualClock;
  readonly journal: MemoryJournal;
  readonly runner: OrderRunner;
  readonly finished: OrderResult[];
  readonly progress: OrderProgress[];
}

function makeRunner(
  carry: (...args: Parameters<CarryOut>) => Promise<unknown>,
  journal = new MemoryJournal(),
): RunnerRig {
  const carryOut: CarryOut = async (...args) => {
    await carry(...args);
    return { vm: undefined, warnings: ['a warning'] };
  };
  const clock = new ManualClock();
  const finished: OrderResult[] = [];
  const progress: OrderProgress[] = [];
  const listener = {
    progressed: (one: OrderProgress) => void progress.push(one),
    finished: (one: OrderResult) => void finished.push(one),
    repeated: (one: OrderResult) => void finished.push(one),
  };
  const runner = new OrderRunner({ clock, journal, carryOut, listener, log: LOG, findVm: async () => undefined });
  return { clock, journal, runner, finished, progress };
}

t.test('configuring a VM', async (t) => {
  const configure = async (host: FakeHost, key: string, action = configureAction()) => {
    const carryOut = carryOutOf(host, makeConfigurer(host));
    return carryOut(order('o', key, action), () => undefined, NEVER);
  };

  t.test('asks the wire, writes guest and cfg, and may come twice', async (t) => {
    const host = new FakeHost();
    const key = host.addVm('domU', 'ip=10.0.0.3, mac=00:16:3E:00:00:01, bridge=eth0');
    await configure(host, key);
    t.match(host.files.get(key), "vif = [ 'mac=00:16:3e:b4:00:07, bridge=eth0' ]");
    t.equal(host.guests.get(key)?.addresses.get(0), ADDRESS);
    const after = host.files.get(key);
    host.warnings = ['root has an empty password'];
    t.match(await configure(host, key), { vm: { state: 'stopped' }, warnings: ['root has an empty password'] });
    t.equal(host.files.get(key), after);
    t.strictSame(
      host.calls.filter((call) => call !== 'listDomains'),
      ['probe', 'write', 'replace', 'keep', 'probe', 'write', 'keep'],
    );
  });

  t.test('writes the bridge that it chose, and asks the wire there', async (t) => {
    const host = new FakeHost();
    const key = host.addVm('domU', '');
    await configure(host, key);
    t.match(host.files.get(key), "vif = [ 'mac=00:16:3e:b4:00:07,bridge=eth0' ]");
    t.strictSame(host.probed, ['eth0']);
    host.bridges = bridgesOf('eth0', 'br1');
    const named = host.addVm('named', 'bridge=br1');
    const order = configureAction();
    const wanting = (bridge: string): OrderAction =>
      order.kind === 'configure' ? { ...order, vifs: order.vifs.map((vif) => ({ ...vif, bridge })) } : order;
    await configure(host, named, wanting('eth0'));
    t.match(host.files.get(named), /bridge=br1/, 'one that exists is left alone');
    const loose = host.addVm('loose', 'script=vif-bridge');
    await t.rejects(configure(host, loose), { code: 'wrong_state', details: { hint: /--bridge eth0/ } });
    await t.rejects(configure(host, loose, wanting('br9')), { code: 'not_found', message: /eth0 .*br1/ });
    await configure(host, loose, wanting('br1'));
    t.match(host.files.get(loose), /bridge=br1/);
    const routed = host.addVm('routed', 'script=vif-route');
    await configure(host, routed);
    t.notMatch(host.files.get(routed), /bridge/);
  });

  t.test('refuses what would hurt, before anything is touched', async (t) => {
    const host = new FakeHost();
    const key = host.addVm('domU');
    host.wire.set(ADDRESS, parseMac('02:00:00:00:00:01'));
    await t.rejects(configure(host, key), {
      code: 'already_exists',
      details: { address: '10.180.0.7', seenMac: '02:00:00:00:00:01' },
    });
    host.wire.set(ADDRESS, MAC);
    await configure(host, key);
    t.pass('an answer from the MAC of the lease is its owner');
    await host.create(key);
    await t.rejects(configure(host, key), { code: 'wrong_state' });
    await t.rejects(configure(host, 'domain:uuid-x'), { code: 'not_found' });
    host.domains.set('x', { name: 'x', uuid: 'uuid-x', state: 'running', memoryMib: 1, vcpus: 1 });
    await t.rejects(configure(host, 'domain:uuid-x'), { code: 'wrong_state' });
    t.equal(host.calls.filter((call) => call === 'write').length, 1);
  });

  const failures: { name: string; prepare: (host: FakeHost) => void; code: string }[] = [
    {
      name: 'the cfg cannot be written',
      prepare: (host) => host.faults.set('replace', new AppError('unavailable', 'full')),
      code: 'unavailable',
    },
    {
      name: 'the disk refuses',
      prepare: (host) => host.faults.set('write', new AppError('wrong_state', 'in use')),
      code: 'wrong_state',
    },
    {
      name: 'the disk was written, but not to the end',
      prepare: (host) => host.faults.set('write late', new AppError('unavailable', 'an I/O error')),
      code: 'unavailable',
    },
    {
      name: 'the cfg was replaced, but perhaps not for good',
      prepare: (host) => {
        // The replacing that undoes it works.
        const once = host.replace.bind(host);
        host.replace = async (...args) => {
          host.replace = once;
          await once(...args);
          throw new AppError('unavailable', 'an I/O error');
        };
      },
      code: 'unavailable',
    },
    {
      name: 'the disk does not hold what was written',
      prepare: (host) => (host.isDiskDeaf = true),
      code: 'wrong_state',
    },
  ];
  for (const c of failures) {
    t.test(`is undone when ${c.name}`, async (t) => {
      const host = new FakeHost();
      const key = host.addVm('domU');
      const before = host.files.get(key);
      c.prepare(host);
      await t.rejects(configure(host, key), { code: c.code });
      t.equal(host.files.get(key), before);
      t.notOk(host.guests.has(key));
      t.equal(host.openGuests.size, 0);
    });
  }

  t.test('says what it could not undo', async (t) => {
    const host = new FakeHost();
    const key = host.addVm('domU');
    host.faults.set('replace', new AppError('unavailable', 'full'));
    host.faults.set('undo', new AppError('unavailable', 'disk gone'));
    await t.rejects(configure(host, key), {
      code: 'unavailable',
      message: 'full',
      details: { notUndone: 'disk gone' },
    });
  });
});

t.test('a change that was left half done', async (t) => {
  const KEY = '/xen/domU.cfg';
  const OLD = "name = 'domU'\nmemory = 256\nvif = [ 'mac=00:16:3e:00:00:01, bridge=eth0' ]\n";
  const NEW = OLD.replace('00:16:3e:00:00:01', '00:16:3e:b4:00:07');
  const INTENT = { cfgPath: KEY, before: OLD, after: NEW };
  const NETWORK = { addresses: new Map([[0, ADDRESS]]), hostname: 'domU' };

  interface Left {
    readonly intent?: boolean;
    readonly isGuestOpen?: boolean;
    readonly isGuestNew?: boolean;
    readonly cfg?: string | undefined;
  }

  /** What a dead agent left, and the configurer of the next one. */
  async function leave({ intent = false, isGuestOpen = false, isGuestNew = isGuestOpen, cfg }: Left) {
    const host = new FakeHost();
    host.addVm('domU');
    if (cfg === undefined) host.files.delete(KEY);
    else host.files.set(KEY, cfg);
    if (isGuestNew) host.guests.set(KEY, NETWORK);
    if (isGuestOpen) host.openGuests.set(KEY, undefined);
    const records = new MemoryRecordStore();
    if (intent) await new RecordIntentLog(records, LOG).begin(INTENT);
    return { host, records, configurer: makeConfigurer(host, records) };
  }

  const settled: { name: string; left: Left; cfg: string | undefined }[] = [
    { name: 'before anything', left: { cfg: OLD }, cfg: OLD },
    { name: 'after the intent', left: { intent: true, cfg: OLD }, cfg: OLD },
    {
      name: 'after the guest',
      left: { intent: true, isGuestOpen: true, cfg: OLD },
      cfg: OLD,
    },
    { name: 'after the cfg', left: { intent: true, isGuestOpen: true, cfg: NEW }, cfg: OLD },
    { name: 'after the undoing of the guest', left: { intent: true, cfg: OLD }, cfg: OLD },
    { name: 'after the cfg of a guest that was right', left: { intent: true, cfg: NEW }, cfg: OLD },
    {
      name: 'after a cfg edited by hand',
      left: { intent: true, isGuestOpen: true, cfg: 'x' },
      cfg: 'x',
    },
    { name: 'after a cfg that is gone', left: { intent: true, isGuestOpen: true }, cfg: undefined },
  ];
  for (const { name, left, cfg } of settled) {
    t.test(`is undone: death ${name}`, async (t) => {
      const { host, records, configurer } = await leave(left);
      await configurer.recover();
      t.equal(host.files.get(KEY), cfg);
      t.notOk(host.guests.has(KEY));
      t.strictSame([records.records.size, host.openGuests.size], [0, 0]);
      host.calls.length = 0;
      await configurer.recover();
      t.strictSame(host.calls, [], 'once is enough');
    });
  }

  t.test('stands when its intent was gone', async (t) => {
    const { host, configurer } = await leave({ isGuestOpen: true, cfg: NEW });
    await configurer.recover();
    await configurer.settle(KEY);
    t.equal(host.files.get(KEY), NEW);
    t.ok(host.guests.has(KEY));
    t.equal(host.openGuests.size, 0);
    t.strictSame(host.calls, ['keep']);
  });

  t.test('stays in the guest that ran meanwhile', async (t) => {
    const { host, records, configurer } = await leave({ intent: true, isGuestOpen: true, cfg: NEW });
    host.faults.set('undo', new AppError('raced', 'the guest ran'));
    await configurer.recover();
    t.equal(host.files.get(KEY), OLD);
    t.ok(host.guests.has(KEY));
    t.strictSame([records.records.size, host.openGuests.size], [0, 0]);
  });

  const stuck: { name: string; at: string; code: 'wrong_state' | 'unavailable' }[] = [
    { name: 'the disk is in use', at: 'undo', code: 'wrong_state' },
    { name: 'the folder of cfg files is full', at: 'replace', code: 'unavailable' },
  ];
  for (const { name, at, code } of stuck) {
    t.test(`waits while ${name}: no start, no change`, async (t) => {
      const { host, records, configurer } = await leave({ intent: true, isGuestOpen: true, cfg: NEW });
      host.faults.set(at, new AppError(code, name));
      await configurer.recover();
      t.equal(records.records.size, 1, 'it is not forgotten');
      const carryOut = carryOutOf(host, configurer);
      const act = async (action: OrderAction) => (await carryOut(order('o', KEY, action), () => undefined, NEVER)).vm;
      await t.rejects(act({ kind: 'start' }), { code });
      await t.rejects(act(configureAction()), { code });
      t.strictSame([host.domains.size, host.calls.includes('write')], [0, false]);
      host.faults.clear();
      t.match(await act({ kind: 'start' }), { state: 'running' });
      t.equal(host.files.get(KEY), OLD);
      t.strictSame([records.records.size, host.openGuests.size, host.guests.size], [0, 0, 0]);
    });
  }

  t.test('does not keep the others from being undone', async (t) => {
    const { host, records, configurer } = await leave({ intent: true, isGuestOpen: true, cfg: NEW });
    const other = host.addVm('other');
    const before = host.files.get(other) ?? '';
    host.files.set(other, 'after');
    await new RecordIntentLog(records, LOG).begin({ cfgPath: other, before, after: 'after' });
    host.faults.set('undo', new AppError('wrong_state', 'in use'));
    await configurer.recover();
    t.equal(host.files.get(other), before);
    t.equal(records.records.size, 1);
  });
});

t.test('orders are about where a VM shall be', async (t) => {
  const host = new FakeHost();
  const key = host.addVm('domU');
  host.files.set('/xen/py.cfg', 'import os\n');
  const carryOut = carryOutOf(host, makeConfigurer(host));
  const act = async (vmKey: string, action: OrderAction) =>
    (await carryOut(order('o', vmKey, action), () => undefined, NEVER)).vm;
  t.match(await act(key, { kind: 'destroy' }), { state: 'stopped' });
  t.match(await act(key, { kind: 'start' }), { state: 'running' });
  t.match(await act(key, { kind: 'start' }), { state: 'running' });
  t.match(await act(key, { kind: 'shutdown', timeoutSeconds: 9, isDestroyedAfter: false }), { state: 'stopped' });
  t.match(await act(key, { kind: 'shutdown', timeoutSeconds: 9, isDestroyedAfter: false }), { state: 'stopped' });
  t.strictSame(
    host.calls.filter((call) => call !== 'listDomains'),
    ['create', 'shutdown 9'],
  );
  for (const kind of ['reboot', 'pause', 'unpause'] as const) {
    await t.rejects(act(key, { kind, timeoutSeconds: 9 }), { code: 'wrong_state' }, `${kind} of what is stopped`);
  }
  await t.rejects(act('/xen/none.cfg', { kind: 'start' }), { code: 'not_found' });
  await t.rejects(act('/xen/py.cfg', { kind: 'start' }), { code: 'wrong_state' });
  await t.rejects(act('/xen/py.cfg', { kind: 'destroy' }), { code: 'wrong_state' }, 'another domain could be hit');
  host.domains.set('x', { name: 'x', uuid: 'u', state: 'running', memoryMib: 1, vcpus: 1 });
  t.equal(await act('domain:u', { kind: 'destroy' }), undefined, 'a domain without a file is gone then');
});

t.test('orders to a domain that is there', async (t) => {
  const host = new FakeHost();
  const key = host.addVm('domU');
  const carryOut = carryOutOf(host, makeConfigurer(host));
  const act = async (action: OrderAction) => (await carryOut(order('o', key, action), () => undefined, NEVER)).vm;
  const shutdown = { kind: 'shutdown', timeoutSeconds: 9, isDestroyedAfter: false } as const;
  await host.create(key);
  t.match(await act({ kind: 'reboot', timeoutSeconds: 9 }), { state: 'running', uuid: 'again-domU' });
  t.match(await act({ kind: 'pause' }), { state: 'paused' });
  t.match(await act({ kind: 'pause' }), { state: 'paused' });
  await t.rejects(act({ kind: 'reboot', timeoutSeconds: 9 }), { code: 'wrong_state' });
  await t.rejects(act(shutdown), { code: 'wrong_state', details: { hint: /unpause/ } }, 'it would not hear it');
  t.match(await act({ kind: 'unpause' }), { state: 'running' });
  t.match(await act({ kind: 'unpause' }), { state: 'running' });

  host.faults.set('shutdown 9', new AppError('timeout', 'ignored'));
  await t.rejects(act(shutdown), { code: 'timeout' });
  t.ok(host.domains.has('domU'), 'left alone');
  t.match(await act({ ...shutdown, isDestroyedAfter: true }), { state: 'stopped' });
  await host.create(key);
  host.faults.set('shutdown 9', new AppError('wrong_state', 'xl failed'));
  await t.rejects(act({ ...shutdown, isDestroyedAfter: true }), { code: 'wrong_state' }, 'not what was asked for');
  t.ok(host.domains.has('domU'));
  host.faults.set('listDomains', new AppError('unavailable', 'hangs'));
  for (const action of [shutdown, { kind: 'destroy' }, { kind: 'start' }, { kind: 'pause' }] as const) {
    await t.rejects(act(action), { code: 'wrong_state', message: /hangs/ }, 'nothing is done to what is not known');
  }
});

t.test('a restart', async (t) => {
  const restart = { kind: 'restart', timeoutSeconds: 9, isDestroyedAfter: false } as const;
  const make = () => {
    const host = new FakeHost();
    const key = host.addVm('domU');
    const records = new MemoryRecordStore();
    let carryOut = carryOutOf(host, makeConfigurer(host), undefined, undefined, new RecordRestartLog(records));
    return {
      ...{ host, key },
      /** @returns the VM and what Xen was told */
      act: async (orderId: string, action: OrderAction = restart) => {
        host.calls.splice(0);
        const ended = await carryOut(order(orderId, key, action), () => undefined, NEVER).then(
          ({ vm }) => vm?.state,
          (error: unknown) => (error instanceof AppError ? error.code : String(error)),
        );
        return [ended, ...host.calls.filter((call) => /^(shutdown|destroy|create)/.test(call))];
      },
      /** What the next agent knows. */
      die: () => {
        carryOut = carryOutOf(host, makeConfigurer(host), undefined, undefined, new RecordRestartLog(records));
      },
    };
  };

  t.test('shuts a domain down and makes it anew, and only makes one of what is stopped', async (t) => {
    const { act } = make();
    t.strictSame(await act('1'), ['running', 'create']);
    t.strictSame(await act('2'), ['running', 'shutdown 9', 'create']);
    t.strictSame(await act('3'), ['running', 'shutdown 9', 'create']);
  });

  t.test('that comes twice does nothing to the domain that it made, whenever the agent died', async (t) => {
    const { host, act, die } = make();
    await act('1');
    await act('2');
    die();
    t.strictSame(await act('2'), ['running'], 'it was done');
    host.faults.set('create', new AppError('unavailable', 'the agent dies'));
    await act('3');
    host.faults.clear();
    die();
    t.strictSame(await act('3'), ['running', 'create'], 'it had shut it down');
    die();
    t.strictSame(await act('3'), ['running'], 'it was done then');
    host.faults.set('shutdown 9', new AppError('unavailable', 'the agent dies'));
    t.strictSame(await act('4'), ['unavailable', 'shutdown 9']);
    host.faults.clear();
    die();
    t.strictSame(await act('4'), ['running', 'shutdown 9', 'create'], 'the guest had not gone');
    host.domains.delete('domU');
    await act('5');
    die();
    t.strictSame(await act('5'), ['running'], 'made of what was stopped');
  });

  t.test('leaves a guest alone that ignores the request, unless it is told to destroy it', async (t) => {
    const { host, act } = make();
    await act('1');
    host.faults.set('shutdown 9', new AppError('timeout', 'ignored'));
    t.strictSame(await act('2'), ['timeout', 'shutdown 9']);
    t.equal(host.domains.get('domU')?.state, 'running');
    t.strictSame(await act('3', { ...restart, isDestroyedAfter: true }), [
      'running',
      'shutdown 9',
      'destroy',
      'create',
    ]);
    host.domains.set('domU', { ...host.domains.get('domU')!, state: 'paused' });
    t.strictSame(await act('4'), ['wrong_state'], 'one that is paused would not hear it');
  });

  t.test('shuts nothing down that could not be started again', async (t) => {
    const { host, key, act } = make();
    await act('1');
    host.bridges = bridgesOf('br9');
    t.strictSame(await act('2'), ['wrong_state']);
    host.bridges = bridgesOf('eth0');
    host.faults.set('listDomains', new AppError('unavailable', 'hangs'));
    t.strictSame(await act('3'), ['wrong_state'], 'its state is not known');
    host.faults.clear();
    host.files.delete(key);
    t.strictSame(await act('4'), ['not_found']);
    t.equal(host.domains.get('domU')?.state, 'running');
  });
});

t.test('no domain is made of a cfg that leaves its bridge to chance', async (t) => {
  const host = new FakeHost();
  const carryOut = carryOutOf(host, makeConfigurer(host));
  const start = async (key: string) => (await carryOut(order('o', key), () => undefined, NEVER)).vm;
  const key = host.addVm('domU', 'mac=00:16:3e:00:00:01');
  const cases = [
    { bridges: bridgesOf(), message: /names no bridge, and the host has none/ },
    { bridges: bridgesOf('eth0', 'xenbr0'), message: /names no bridge, and the host has 2: eth0 .* xenbr0/ },
    { bridges: bridgesOf('eth0'), message: /xenbr0, which xl would take, is not there/ },
  ];
  for (const { bridges, message } of cases) {
    host.bridges = bridges;
    await t.rejects(start(key), { code: 'wrong_state', message });
  }
  await t.rejects(start(host.addVm('other', 'bridge=br9')), { message: /br9, which is not there: the host has eth0/ });
  host.faults.set('readBridges', new AppError('unavailable', 'no sysfs'));
  await t.rejects(start(key), { code: 'unavailable' });
  t.notOk(host.calls.includes('create'), 'xl was not asked');
  host.faults.clear();
  host.bridges = bridgesOf('xenbr0');
  t.match(await start(key), { state: 'running' });
  host.bridges = bridgesOf();
  t.match(await start(host.addVm('routed', 'script=vif-route')), { state: 'running' });
});

t.test('who looks at the same time shares a look, but none that began before', async (t) => {
  const host = new FakeHost();
  const keys = ['one', 'two'].map((name) => host.addVm(name));
  const read: string[] = [];
  const guestDisk = { read: async (guest: Guest) => (read.push(guest.cfgPath), host.read(guest)) };
  const looks: (() => void)[] = [];
  const cfgFolder = {
    survey: async () => {
      const files = await host.survey();
      await new Promise<void>((resolve) => looks.push(resolve));
      return files;
    },
  };
  const observer = new Observer(host, cfgFolder, guestDisk);
  const nextLook = async (): Promise<void> => {
    await settle();
    looks.shift()?.();
    await settle();
  };

  const before = observer.observe();
  await settle();
  const third = host.addVm('three');
  const after = [observer.observe(), observer.observe()];
  const found = observer.find(third);
  await nextLook();
  t.strictSame(
    (await before).map(({ key }) => key),
    keys,
    'it had begun',
  );
  await nextLook();
  for (const vms of await Promise.all(after)) {
    t.strictSame(
      vms.map(({ key }) => key),
      [...keys, third],
    );
  }
  t.match(await found, { key: third });
  t.equal(looks.length, 0, 'one look for three');

  read.length = 0;
  const alone = observer.find(third);
  await nextLook();
  await alone;
  t.strictSame(read, [third], 'the others keep their disks to themselves');

  host.survey = async () => Promise.reject(new AppError('unavailable', 'gone'));
  await t.rejects(observer.observe(), { code: 'unavailable' });
  await t.rejects(observer.find(third), { code: 'unavailable' }, 'a look that failed holds up no other');
});

t.test('the order runner', async (t) => {
  t.test('runs those of one VM in turn, of two side by side', async (t) => {
    const events: string[] = [];
    const releases = new Map<string, () => void>();
    const { runner, finished } = makeRunner(async ({ orderId }) => {
      events.push(`+${orderId}`);
      await new Promise<void>((resolve) => releases.set(orderId, resolve));
      events.push(`-${orderId}`);
      return undefined;
    });
    for (const [id, key] of [
      ['1', 'a'],
      ['2', 'a'],
      ['3', 'b'],
    ] as const)
      runner.submit(order(id, key));
    await settle();
    t.strictSame(events, ['+1', '+3']);
    releases.get('1')?.();
    await settle();
    t.strictSame(events, ['+1', '+3', '-1', '+2']);
    releases.get('2')?.();
    releases.get('3')?.();
    await settle();
    t.strictSame(finished.map((result) => result.orderId).sort(), ['1', '2', '3']);
  });

  t.test('lets those that only look wait for no other, and keeps no journal of them', async (t) => {
    let release = (): void => undefined;
    let looks = 0;
    const { runner, finished, journal } = makeRunner(({ action }) => {
      if (action.kind === 'look') looks += 1;
      return action.kind === 'start' ? new Promise<void>((resolve) => (release = resolve)) : Promise.resolve();
    });
    runner.submit(order('1', 'a'));
    runner.submit(order('2', 'a', { kind: 'openConsole', consoleId: 'c', log: undefined }));
    runner.submit(order('3', 'a', { kind: 'look' }));
    await settle();
    runner.submit(order('3', 'a', { kind: 'look' }));
    await settle();
    t.strictSame(
      finished.map(({ orderId }) => orderId),
      ['2', '3', '3'],
    );
    t.equal(looks, 2, 'what was seen is not kept: it is looked at anew');
    t.strictSame(await journal.load(), []);
    release();
    await settle();
    t.equal((await journal.load()).length, 1);
  });

  t.test('runs no order twice, not even after a restart', async (t) => {
    let runs = 0;
    const carryOut: CarryOut = async () => {
      runs += 1;
      throw new AppError('wrong_state', 'no', { why: 'x' });
    };
    const first = makeRunner(carryOut);
    first.runner.submit(order('1', 'a'));
    first.runner.submit(order('1', 'a'));
    await settle();
    first.runner.submit(order('1', 'a'));
    await settle();
    t.equal(runs, 1);
    t.equal(first.finished.length, 2);
    t.strictSame(first.finished[0], first.finished[1]);
    const second = makeRunner(carryOut, first.journal);
    await second.runner.start();
    second.runner.submit(order('1', 'a'));
    await settle();
    t.equal(runs, 1);
    t.match(second.finished[0], { failure: { code: 'wrong_state', message: 'no', details: { why: 'x' } } });
  });

  t.test('forgets the oldest of more than a thousand', async (t) => {
    let runs = 0;
    const { runner } = makeRunner(async () => void (runs += 1));
    for (let n = 0; n <= 1000; n += 1) runner.submit(order(`${n}`, 'a'));
    for (let n = 0; n < 1000 && runs < 1001; n += 1) await settle();
    runner.submit(order('1', 'a'));
    await settle();
    t.equal(runs, 1001);
    runner.submit(order('0', 'a'));
    await settle();
    t.equal(runs, 1002);
  });

  t.test('ends what takes too long, or is cancelled, by what cut it short', async (t) => {
    const { runner, clock, finished, progress } = makeRunner(async (_order, report, signal) => {
      report('working', 50);
      await sleep(clock, 60_000, signal);
      throw new AppError('internal', 'because it was cut short', { at: 'x' });
    });
    runner.submit(order('late', 'a', { kind: 'start' }, 5000));
    runner.submit(order('queued', 'a', { kind: 'start' }, 1000));
    runner.submit(order('unwanted', 'b'));
    await clock.advance(500);
    runner.cancel('unwanted');
    runner.cancel('unknown');
    await clock.advance(5000);
    const codes = Object.fromEntries(finished.map((result) => [result.orderId, result.failure?.code]));
    t.strictSame(codes, { late: 'timeout', queued: 'timeout', unwanted: 'unavailable' });
    t.match(progress[0], { orderId: 'late', message: 'working', percent: 50 });
    t.equal(clock.timers, 0, 'no timer is left');
  });

  t.test('a stop finishes the step and answers nothing', async (t) => {
    let undone = 0;
    const { runner, clock, finished, journal } = makeRunner(async (_order, _report, signal) => {
      await sleep(clock, 60_000, signal);
      undone += 1;
      signal.throwIfAborted();
      return undefined;
    });
    runner.submit(order('1', 'a'));
    runner.submit(order('2', 'a'));
    await settle();
    await runner.stop();
    runner.submit(order('3', 'b'));
    await settle();
    t.equal(undone, 1, 'the second one never began');
    t.strictSame([finished, journal.results], [[], []]);
  });

  t.test('a journal that cannot be written does not hide a result', async (t) => {
    const { runner, journal, finished } = makeRunner(async () => undefined);
    journal.fault = new AppError('unavailable', 'full');
    runner.submit(order('1', 'a'));
    await settle();
    t.match(finished, [{ orderId: '1', failure: undefined, warnings: ['a warning'] }]);
  });
});

t.test('a result is kept until it must have arrived', async (t) => {
  const outbox = new ResultOutbox();
  const result = { orderId: '1', failure: undefined, vm: undefined };
  outbox.add(result);
  outbox.settle(1e9);
  t.strictSame(outbox.reopen(), [result], 'not sent');
  outbox.markSent(result, 1000);
  outbox.settle(30_999);
  t.strictSame(outbox.reopen(), [result], 'sent, but its session ended soon');
  outbox.settle(1e9);
  t.strictSame(outbox.reopen(), [result], 'not sent in this session');
  outbox.markSent(result, 1000);
  outbox.settle(31_000);
  t.strictSame(outbox.reopen(), []);
});
