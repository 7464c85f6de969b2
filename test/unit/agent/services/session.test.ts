// An async function of a fake turns what it throws into a rejection, as the real one's do.
/* eslint-disable @typescript-eslint/require-await */
import assert from 'node:assert/strict';
import { pino } from 'pino';
import t, { type Test } from 'tap';
import { AppError } from '../../../../shared/errors.js';
import type { HostStore } from '../../../../shared/domain/host-store.js';
import type { Identity } from '../../../../agent/domain/identity.js';
import type { HostEvent } from '../../../../agent/domain/host-event.js';
import type { Order, OrderResult } from '../../../../agent/domain/order.js';
import type { DownMessage, Hello, UpMessage } from '../../../../agent/domain/session-message.js';
import type { ObservedVm } from '../../../../agent/domain/vm.js';
import type { AgentStatus } from '../../../../agent/ports/agent-record.js';
import type { EventBacklog } from '../../../../agent/ports/boot-record.js';
import type { ConsoleStream, ControllerLink, SessionChannel } from '../../../../agent/ports/controller-link.js';
import type { IdentityStore } from '../../../../agent/ports/identity-store.js';
import type { Joiner, JoinRequest } from '../../../../agent/ports/joiner.js';
import type { KeyMaker } from '../../../../agent/ports/key-maker.js';
import { parseIpv4 } from '../../../../shared/domain/ipv4.js';
import { parseMac } from '../../../../shared/domain/mac.js';
import type { LeaseRecord, VifLease } from '../../../../agent/domain/lease-record.js';
import { BacklogNews } from '../../../../agent/services/backlog-news.js';
import { LeaseMemory } from '../../../../agent/services/lease-memory.js';
import { Observer } from '../../../../agent/services/observe.js';
import { Renewal } from '../../../../agent/services/renewal.js';
import { ResultOutbox } from '../../../../agent/services/result-outbox.js';
import { SessionKeeper } from '../../../../agent/services/session-keeper.js';
import { StoreWatch } from '../../../../agent/services/store-watch.js';
import { bridgesOf, FakeHost } from '../fake-host.js';
import { ManualClock, settle } from '../manual-clock.js';

const LOG = pino({ level: 'silent' });
const DAY_MS = 86_400_000;

const ORDER: Order = { orderId: '1', vmKey: 'a', timeoutMs: 1000, action: { kind: 'start' } };

/** A link that a test holds in its hands. */
class FakeChannel implements SessionChannel {
  readonly address = 'controller:1';
  readonly welcome = { heartbeatMs: 10_000, controllerVersion: '9', nowMs: 0 };
  readonly sent: UpMessage[] = [];
  isClosed = false;
  readonly #queue: (DownMessage | AppError)[] = [];
  #wake: () => void = () => undefined;

  say(message: DownMessage | AppError): void {
    this.#queue.push(message);
    this.#wake();
  }

  get messages(): AsyncIterable<DownMessage> {
    return this.#read();
  }

  async *#read(): AsyncGenerator<DownMessage, void, undefined> {
    for (;;) {
      const next = this.#queue.shift();
      if (next instanceof AppError) throw next;
      if (next !== undefined) yield next;
      else if (this.isClosed) return;
      else await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  async send(message: UpMessage): Promise<void> {
    if (this.isClosed) throw new AppError('unavailable', 'closed');
    this.sent.push(message);
  }

  async renew(request: string): Promise<string> {
    return `certificate for ${request}`;
  }

  openConsole(): ConsoleStream {
    throw new AppError('unavailable', 'this link has no consoles');
  }

  close(): void {
    this.isClosed = true;
    this.#wake();
  }

  kinds(): string[] {
    return this.sent.map((message) => message.kind);
  }
}

class MemoryIdentities implements IdentityStore {
  identity: Identity | undefined;
  pendingKey: string | undefined;

  async load(): Promise<Identity | undefined> {
    return this.identity;
  }

  async save(identity: Identity): Promise<void> {
    this.identity = identity;
    this.pendingKey = undefined;
  }

  async moveAside(): Promise<string | undefined> {
    this.identity = undefined;
    return '/aside';
  }

  async loadPendingKey(): Promise<string | undefined> {
    return this.pendingKey;
  }

  async savePendingKey(keyPem: string): Promise<void> {
    this.pendingKey = keyPem;
  }
}

class MemoryBacklog implements EventBacklog {
  events: readonly HostEvent[] = [];

  async list(): Promise<readonly HostEvent[]> {
    return this.events;
  }

  async append(events: readonly HostEvent[]): Promise<void> {
    this.events = [...this.events, ...events];
  }

  async dropFirst(count: number): Promise<void> {
    this.events = this.events.slice(count);
  }
}

function makeKeeper(t: Test, prepare: (identities: MemoryIdentities, clock: ManualClock) => void = () => undefined) {
  const clock = new ManualClock();
  const backlog = new MemoryBacklog();
  const host = new FakeHost();
  const channels: FakeChannel[] = [];
  const hellos: Hello[] = [];
  const statuses: AgentStatus[] = [];
  const joins: JoinRequest[] = [];
  const submitted: Order[] = [];
  const identities = new MemoryIdentities();
  const refusals: AppError[] = [];
  let keys = 0;
  const validity = (): { notBeforeMs: number; notAfterMs: number } => ({
    notBeforeMs: clock.nowMs(),
    notAfterMs: clock.nowMs() + DAY_MS,
  });
  const keyMaker: KeyMaker = {
    makeKey: async () => `key ${(keys += 1)}`,
    makeRequest: async (keyPem, name) => `${name} with ${keyPem}`,
    sign: (keyPem) => Buffer.from(`by ${keyPem}`),
    readValidity: validity,
  };
  const joiner: Joiner = {
    join: async (request) => {
      joins.push(request);
      return { certificatePem: 'renewed', caPem: 'ca', addresses: ['controller:2'] };
    },
  };
  const link: ControllerLink = {
    connect: async (_identity, hello) => {
      hellos.push(hello);
      const refusal = refusals.shift();
      if (refusal !== undefined) throw refusal;
      const channel = new FakeChannel();
      channels.push(channel);
      return channel;
    },
  };
  identities.identity = {
    host: 'dom0',
    keyPem: 'key 0',
    certificatePem: 'first',
    caPem: 'ca',
    addresses: ['controller:1'],
    joinAddresses: ['controller:3'],
    deploymentId: 'd',
    ...validity(),
  };
  prepare(identities, clock);
  let counter = 0;
  let records: readonly LeaseRecord[] = [];
  const storeWatch = new StoreWatch({ cfgFolder: host, stores: host, log: LOG });
  const keeper = new SessionKeeper({
    clock,
    observer: new Observer(host, host, host),
    toolstack: host,
    cfgFolder: host,
    bridges: host,
    storeWatch,
    hostReport: host,
    orders: { submit: (one) => void submitted.push(one), cancel: (id) => void host.calls.push(`cancel ${id}`) },
    outbox: new ResultOutbox(),
    news: new BacklogNews({ backlog, clock, log: LOG }),
    leaseMemory: new LeaseMemory({
      leases: {
        list: async () => records,
        keep: async () => undefined,
        replaceAll: async (all) => void (records = all),
      },
      deployment: { readDeployment: async () => assert.fail('not asked'), readDeploymentId: async () => 'd' },
      log: LOG,
    }),
    log: LOG,
    link,
    renewal: new Renewal({ clock, identities, keys: keyMaker, joiner, log: LOG }),
    record: {
      nextSessionCounter: async () => (counter += 1),
      writeStatus: async (status) => void statuses.push(status),
      readStatus: async () => statuses.at(-1),
    },
    random: () => 0,
    about: { version: '1', pid: 1, startedAtMs: 0 },
  });
  const abort = new AbortController();
  const running = keeper.run(abort.signal);
  t.teardown(async () => {
    abort.abort();
    await running;
    if (clock.timers !== 0) throw new Error(`${clock.timers} timers are left`);
  });
  return {
    storeWatch,
    backlog,
    records: () => records,
    clock,
    host,
    channels,
    hellos,
    statuses,
    joins,
    submitted,
    identities,
    refusals,
    keeper,
    abort,
    running,
  };
}

/** What there is on the host, by the session's own eyes. */
function observed(host: FakeHost): Promise<readonly ObservedVm[]> {
  return new Observer(host, host, host).observe();
}

t.test('the session', async (t) => {
  t.test('begins with everything, then tells changes, together', async (t) => {
    const { host, channels, clock, keeper, hellos } = makeKeeper(t);
    const key = host.addVm('domU');
    await clock.advance(0);
    t.match(hellos, [{ sessionCounter: 1, isSimulated: true, deploymentId: 'd' }]);
    t.strictSame(channels[0]?.kinds(), ['fullState', 'heartbeat']);
    t.match(channels[0]?.sent[0], { vms: [{ key, state: 'stopped' }] });
    await host.create(key);
    for (let n = 0; n < 5; n += 1) keeper.stateChanged();
    await clock.advance(99);
    host.addVm('domU2');
    await clock.advance(1);
    t.strictSame(channels[0]?.kinds(), ['fullState', 'heartbeat', 'change']);
    t.match(channels[0]?.sent[2], { change: { changed: [{ key, state: 'running' }, { name: 'domU2' }], gone: [] } });
    keeper.stateChanged();
    await clock.advance(1000);
    t.equal(channels[0]?.sent.length, 3, 'nothing changed, nothing is said');
    await clock.advance(10_000);
    const beat = channels[0]?.sent.at(-1);
    t.match(beat, { kind: 'heartbeat', heartbeat: { memoryFreeMib: 500 } });
    if (beat?.kind === 'heartbeat') t.strictSame([...beat.heartbeat.metrics.keys()], [key]);
  });

  t.test('tells what happened without a controller, until it has arrived', async (t) => {
    const { channels, clock, backlog } = makeKeeper(t);
    const event = (n: number): HostEvent => ({ kind: 'vm.held', message: `${n}`, vmKey: undefined, details: {} });
    await backlog.append([event(1), event(2)]);
    await clock.advance(0);
    t.strictSame(channels[0]?.kinds(), ['fullState', 'event', 'event', 'heartbeat']);
    await clock.advance(20_000);
    t.equal(backlog.events.length, 2, 'the network may have lost them');
    channels[0]?.say(new AppError('unavailable', 'cut'));
    await clock.advance(1000);
    t.strictSame(channels[1]?.kinds(), ['fullState', 'event', 'event', 'heartbeat']);
    await backlog.append([event(3)]);
    await clock.advance(40_000);
    t.strictSame(backlog.events, [event(3)]);
    channels[1]?.say(new AppError('unavailable', 'cut'));
    await clock.advance(1000);
    t.match(channels[2]?.sent[1], { kind: 'event', event: event(3) });
  });

  t.test('tells of stores, again when they changed; LVM is asked at the start and after what made disks', async (t) => {
    const { host, channels, clock, keeper, storeWatch } = makeKeeper(t);
    const root: HostStore = {
      ...{ kind: 'file-system', name: '/', type: 'ext4', sizeBytes: 6, freeBytes: 5, metadataPercent: undefined },
      ...{ sharesBlocks: false, isRecorded: true, recordedReason: '', disks: [] },
    };
    host.stores = [root];
    host.files.set('/xen/domU.cfg', "name='domU'\ndisk=['phy:/a,xvda,w','file:/cd,hdc:cdrom,r']\n");
    host.files.set('/xen/bad.cfg', "name='bad'\ndisk=['?']\n");
    await clock.advance(0);
    const disks = [{ vmKey: '/xen/domU.cfg', path: '/a' }];
    t.match(channels[0]?.sent[0], { kind: 'fullState', stores: [{ name: '/', freeBytes: 5, disks }] });
    const change = async (): Promise<UpMessage | undefined> => {
      keeper.stateChanged();
      await clock.advance(100);
      return channels[0]?.sent.at(-1);
    };
    const sent = channels[0]?.sent.length;
    await change();
    t.equal(channels[0]?.sent.length, sent, 'the same is not told');
    host.stores = [{ ...root, freeBytes: 4 }];
    t.match(await change(), { change: { changed: [], stores: [{ freeBytes: 4 }] } });
    host.faults.set('readStores', new AppError('unavailable', 'no statfs'));
    host.addVm('domU2');
    const last = await change();
    t.match(last, { change: { changed: [{ name: 'domU2' }] } });
    t.equal(last?.kind === 'change' && last.change.stores, undefined);
    host.faults.clear();
    const asked = (): number => host.calls.filter((call) => call === 'ask LVM').length;
    const before = asked();
    await change();
    t.equal(asked(), before);
    const outcome = { vm: undefined, warnings: [] };
    const carryOut = storeWatch.noting(() => Promise.resolve(outcome));
    for (const kind of ['start', 'remove'] as const) {
      const order: Order = { orderId: kind, vmKey: 'a', timeoutMs: 1000, action: { kind } };
      await carryOut(order, () => undefined, new AbortController().signal);
      await change();
    }
    t.equal(asked(), before + 1);
    host.stores = [{ ...root, freeBytes: 3 }];
    const look: Order = { orderId: 'look', vmKey: '', timeoutMs: 1000, action: { kind: 'readStores' } };
    const looked = await carryOut(look, () => undefined, new AbortController().signal);
    t.match(looked, { stores: [{ name: '/', freeBytes: 3 }] }, 'who looks is told what there is now');
    t.equal(asked(), before + 2);
  });

  t.test('tells of bridges, again when they changed, and of VMs though they cannot be read', async (t) => {
    const { host, channels, clock, keeper } = makeKeeper(t);
    host.addVm('domU');
    await clock.advance(0);
    t.match(channels[0]?.sent[0], { kind: 'fullState', bridges: { bridges: [{ name: 'eth0' }] } });
    host.bridges = bridgesOf('eth0', 'br1');
    keeper.stateChanged();
    await clock.advance(100);
    t.match(channels[0]?.sent.at(-1), {
      change: { changed: [], bridges: { bridges: [{ name: 'eth0' }, { name: 'br1' }] } },
    });
    host.faults.set('readBridges', new AppError('unavailable', 'no sysfs'));
    host.addVm('domU2');
    keeper.stateChanged();
    await clock.advance(100);
    const last = channels[0]?.sent.at(-1);
    t.match(last, { change: { changed: [{ name: 'domU2' }] } });
    t.equal(last?.kind === 'change' && last.change.bridges, undefined);
    host.faults.clear();
    keeper.stateChanged();
    await clock.advance(1000);
    t.equal(channels[0]?.sent.at(-1), last, 'the same as before the fault is no news');
  });

  t.test('tells of VMs as unknown while the toolstack does not answer, never as stopped', async (t) => {
    const { host, channels, clock } = makeKeeper(t);
    const key = host.addVm('domU');
    const stopped = host.addVm('other');
    await host.create(key);
    host.domains.set('x', { name: 'x', uuid: 'u', state: 'running', memoryMib: 1, vcpus: 1 });
    await clock.advance(0);
    const hung = new AppError('unavailable', 'xl list hangs');
    host.faults.set('listDomains', hung).set('sample', hung);
    await clock.advance(20_000);
    const change = channels[0]?.sent.findLast(({ kind }) => kind === 'change');
    t.match(change, {
      change: {
        changed: [
          { key, state: 'unknown', problem: /xl list hangs/ },
          { key: stopped, state: 'unknown', problem: /xl list hangs/ },
          { key: 'domain:u', state: 'unknown', problem: /xl list hangs/ },
        ],
        gone: [],
      },
    });
    host.faults.clear();
    await clock.advance(70_000);
    t.match(
      channels[0]?.sent.findLast(({ kind }) => kind === 'change'),
      {
        change: {
          changed: [
            { key, state: 'running', problem: undefined },
            { key: stopped, state: 'stopped', problem: undefined },
            { key: 'domain:u', state: 'running' },
          ],
        },
      },
    );
    t.equal(channels.length, 1, 'in the same session');
  });

  t.test('tells of a cfg that is refused what is wrong, where, and what to do', async (t) => {
    const { host, channels, keeper, clock } = makeKeeper(t);
    host.files.set('/xen/old.cfg', 'name = "old" + "VM"\n');
    await clock.advance(0);
    keeper.stateChanged();
    await clock.advance(1000);
    const problem = /^\/xen\/old\.cfg: .*line 1, column 14.*; this looks like Python/;
    const told = channels[0]?.sent.find(({ kind }) => kind === 'fullState' || kind === 'change');
    t.match(told, { vms: [{ name: 'old', state: 'unknown', problem }] });
  });

  t.test('looks again by itself within a minute and a heartbeat', async (t) => {
    const { host, channels, clock } = makeKeeper(t);
    await clock.advance(0);
    host.addVm('domU');
    await clock.advance(71_000);
    t.equal(channels[0]?.kinds().filter((kind) => kind === 'change').length, 1);
  });

  t.test('obeys', async (t) => {
    const { host, channels, clock, submitted } = makeKeeper(t);
    await clock.advance(0);
    channels[0]?.say({ kind: 'order', order: ORDER });
    channels[0]?.say({ kind: 'cancel', orderId: '1' });
    const result = { orderId: '2', failure: { code: 'invalid', message: '', details: {} }, vm: undefined } as const;
    channels[0]?.say({ kind: 'malformed', result });
    await settle();
    t.match(submitted, [{ orderId: '1' }]);
    t.ok(host.calls.includes('cancel 1'));
    t.match(channels[0]?.sent.at(-1), { kind: 'result', result: { orderId: '2' } });
  });

  t.test('remembers what the controller says is leased, and that alone', async (t) => {
    const { channels, clock, records } = makeKeeper(t);
    await clock.advance(0);
    const lease: VifLease = {
      cfgPath: '/etc/xen/a.cfg',
      vifIndex: 0,
      address: parseIpv4('10.180.0.1'),
      mac: parseMac('00:16:3e:b4:00:01'),
      endsAtMs: 5,
    };
    channels[0]?.say({ kind: 'leases', leases: [lease, { ...lease, vifIndex: 1 }] });
    await settle();
    t.match(records(), [{ ...lease, deploymentId: 'd' }, { vifIndex: 1 }]);
    channels[0]?.say({ kind: 'leases', leases: [{ ...lease, endsAtMs: 9 }] });
    await settle();
    t.strictSame(records(), [{ ...lease, endsAtMs: 9, deploymentId: 'd' }]);
  });

  t.test('comes again, with what the last one may have lost', async (t) => {
    const { channels, clock, keeper, hellos, refusals, statuses } = makeKeeper(t);
    await clock.advance(0);
    const result = (orderId: string): OrderResult => ({ orderId, failure: undefined, vm: undefined });
    keeper.finished(result('old'));
    await clock.advance(40_000);
    keeper.finished(result('sent'));
    await settle();
    refusals.push(new AppError('unavailable', 'down'), new AppError('unauthenticated', 'revoked'));
    channels[0]?.say(new AppError('unavailable', 'lost'));
    await settle();
    t.ok(channels[0]?.isClosed);
    t.match(statuses.at(-1), { session: { kind: 'closed', reason: 'lost' } });
    keeper.finished(result('between'));
    await clock.advance(199);
    t.equal(hellos.length, 1, 'not before its time');
    await clock.advance(1 + 200 + 200);
    t.strictSame(
      hellos.map((hello) => hello.sessionCounter),
      [1, 2, 3, 4],
    );
    const again = channels[1]?.sent.flatMap((message) => (message.kind === 'result' ? [message.result.orderId] : []));
    t.strictSame(again, ['sent', 'between']);
    t.equal(channels[1]?.kinds()[0], 'fullState');
    t.match(statuses.at(-1), { session: { kind: 'open', address: 'controller:1', controllerVersion: '9' } });
  });

  t.test('tells of an old result with the VM as it is now', async (t) => {
    const { host, channels, clock, keeper } = makeKeeper(t);
    const key = host.addVm('domU');
    await clock.advance(0);
    await host.create(key);
    const [running] = await observed(host);
    keeper.finished({ orderId: 'start', failure: undefined, vm: running });
    await clock.advance(1000);
    await host.destroy('domU');
    keeper.stateChanged();
    await clock.advance(1000);
    channels[0]?.say(new AppError('unavailable', 'lost'));
    await settle();
    await clock.advance(1000);
    const [state, result] = channels[1]?.sent ?? [];
    t.match(state, { kind: 'fullState', vms: [{ key, state: 'stopped' }] });
    t.match(result, { kind: 'result', result: { orderId: 'start', vm: { key, state: 'stopped' } } });
    keeper.repeated({ orderId: 'start', failure: undefined, vm: running });
    await settle();
    t.match(channels[1]?.sent.at(-1), { result: { vm: { key, state: 'stopped' } } }, 'also when the order comes again');
  });

  t.test('mends what a result told that was overtaken by a change', async (t) => {
    const { host, channels, clock, keeper } = makeKeeper(t);
    const key = host.addVm('domU');
    const [stopped] = await observed(host);
    await clock.advance(0);
    await host.create(key);
    keeper.stateChanged();
    await clock.advance(1000);
    t.match(channels[0]?.sent.at(-1), { kind: 'change', change: { changed: [{ key, state: 'running' }] } });
    keeper.finished({ orderId: 'configure', failure: undefined, vm: stopped });
    await clock.advance(1000);
    t.match(channels[0]?.sent.at(-1), { kind: 'change', change: { changed: [{ key, state: 'running' }] } });
  });

  t.test('what was seen before a result is not told after it', async (t) => {
    const { host, channels, clock, keeper } = makeKeeper(t);
    const key = host.addVm('domU');
    const [stopped] = await observed(host);
    await host.create(key);
    await clock.advance(0);
    const [channel] = channels;
    assert(channel !== undefined && stopped !== undefined);
    const domain = host.domains.get('domU');
    assert(domain !== undefined);
    const states = (): readonly (string | undefined)[] =>
      channel.sent.flatMap((message) => {
        if (message.kind === 'change') return message.change.changed.map(({ state }) => state);
        return message.kind === 'result' ? [message.result.vm?.state] : [];
      });

    const look = host.readBridges.bind(host);
    let goOn = (): void => undefined;
    host.readBridges = () => new Promise((resolve) => (goOn = () => resolve(look())));
    host.domains.set('domU', { ...domain, state: 'stopping' });
    keeper.stateChanged();
    await clock.advance(1000);
    host.domains.delete('domU');
    keeper.finished({ orderId: 'shutdown', failure: undefined, vm: stopped });
    host.readBridges = look;
    goOn();
    await clock.advance(1000);
    t.strictSame(states(), ['stopped']);

    const send = channel.send.bind(channel);
    channel.send = async (message) => {
      await send(message);
      if (message.kind === 'change') await new Promise<void>((resolve) => (goOn = resolve));
    };
    host.domains.set('domU', { ...domain, state: 'stopping' });
    keeper.stateChanged();
    await clock.advance(1000);
    keeper.finished({ orderId: 'destroy', failure: undefined, vm: stopped });
    channel.send = send;
    goOn();
    await clock.advance(1000);
    t.strictSame(states(), ['stopped', 'stopping', 'stopped', 'stopping'], 'the host has the last word');
  });

  t.test('ends for good when it is told to', async (t) => {
    const { channels, clock, abort, running, hellos } = makeKeeper(t);
    await clock.advance(0);
    abort.abort();
    await running;
    t.ok(channels[0]?.isClosed);
    await clock.advance(DAY_MS);
    t.equal(hellos.length, 1);
  });
});

t.test('the certificate', async (t) => {
  t.test('is renewed on the session at two thirds of its life, with a new key, again and again', async (t) => {
    const { clock, identities, channels } = makeKeeper(t);
    await clock.advance((DAY_MS * 2) / 3 - 1);
    t.equal(identities.identity?.keyPem, 'key 0');
    await clock.advance(1);
    t.match(identities.identity, { keyPem: 'key 1', certificatePem: 'certificate for dom0 with key 1', host: 'dom0' });
    await clock.advance((DAY_MS * 2) / 3);
    t.equal(identities.identity?.keyPem, 'key 2');
    t.equal(channels.length, 1, 'the session stays');
  });

  t.test('that failed to renew is tried again', async (t) => {
    const { clock, identities, channels } = makeKeeper(t);
    await clock.advance(0);
    const [channel] = channels;
    if (channel === undefined) throw new Error('no channel');
    let failures = 0;
    const renew = channel.renew.bind(channel);
    channel.renew = async (request) => {
      if ((failures += 1) < 3) throw new AppError('timeout', 'slow');
      return renew(request);
    };
    await clock.advance((DAY_MS * 2) / 3 + 600_000);
    t.equal(failures, 3);
    t.equal(identities.identity?.keyPem, 'key 3');
  });

  t.test('that ran out is renewed by its own proof, with a key that outlives a crash', async (t) => {
    const { clock, identities, joins, channels } = makeKeeper(t, (store, at) => {
      if (store.identity) store.identity = { ...store.identity, notAfterMs: at.nowMs() };
      store.pendingKey = 'key of the crash';
    });
    await clock.advance(0);
    t.match(joins, [
      {
        host: 'dom0',
        request: 'dom0 with key of the crash',
        deploymentId: 'd',
        proof: { kind: 'expired', certificatePem: 'first', signature: Buffer.from('by key 0') },
      },
    ]);
    t.match(identities.identity, {
      keyPem: 'key of the crash',
      certificatePem: 'renewed',
      addresses: ['controller:2'],
    });
    t.equal(channels.length, 1);
  });
});
