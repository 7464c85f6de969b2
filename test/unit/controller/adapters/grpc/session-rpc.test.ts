import { pino } from 'pino';
import t from 'tap';
import { sessionHandlers } from '../../../../../controller/adapters/grpc/session-rpc.js';
import { detailsFrom } from '../../../../../controller/adapters/grpc/convert-observation.js';
import { conflictHandlers } from '../../../../../controller/adapters/grpc/conflict-rpc.js';
import { hostQueryHandlers } from '../../../../../controller/adapters/grpc/host-rpc.js';
import { vmHandlers } from '../../../../../controller/adapters/grpc/vm-rpc.js';
import { Outbox } from '../../../../../controller/adapters/grpc/outbox.js';
import type { CallInfo } from '../../../../../controller/adapters/grpc/call.js';
import { HostQuery } from '../../../../../controller/services/host-service.js';
import { AgentMessage, ControllerMessage, type ObservedVm } from '../../../../../shared/gen/domherd/v1/agent.js';
import { HostState } from '../../../../../shared/gen/domherd/v1/host.js';
import { Lease } from '../../../../../shared/gen/domherd/v1/lease.js';
import { ListVmsResponse, VmProgress, VmState, WaitCondition } from '../../../../../shared/gen/domherd/v1/vm.js';
import type { AppError } from '../../../../../shared/errors.js';
import { ADMIN, FleetWorld } from '../../../../fakes/fleet-world.js';
import { settle } from '../../../../fakes/manual-timer.js';

type Message = NonNullable<AgentMessage['message']>;

/** The agent's end of a stream, through the wire's own encoding. */
class Wire {
  readonly sent = new Outbox<AgentMessage>(1_000);
  readonly received: NonNullable<ControllerMessage['message']>[] = [];
  readonly abort = new AbortController();
  outcome: 'open' | 'ended' | AppError = 'open';

  constructor(world: FleetWorld, agentHost: string | undefined) {
    const call: CallInfo = { caller: ADMIN, agentHost, log: pino({ level: 'silent' }), signal: this.abort.signal };
    const { session } = sessionHandlers({ ...world, heartbeatMs: 250 });
    void this.read(session(this.sent.read(), call));
  }

  send(message: Message): void {
    this.sent.push(AgentMessage.decode(AgentMessage.encode({ message }).finish()));
  }

  private async read(messages: AsyncIterable<ControllerMessage>): Promise<void> {
    try {
      for await (const each of messages) {
        const { message } = ControllerMessage.decode(ControllerMessage.encode(each).finish());
        if (message) this.received.push(message);
      }
      this.outcome = 'ended';
    } catch (error) {
      this.outcome = error as AppError;
    }
  }
}

const facts = {
  agentVersion: '1',
  nodeVersion: '20',
  kernel: '6',
  xenVersion: '',
  cpus: 4,
  memoryMib: 8,
  memoryFreeMib: 4,
};

function hello(world: FleetWorld, change: object = {}): Message {
  const now = new Date(world.clock.nowMs());
  const value = {
    protocol: { major: 1, minor: 0 },
    facts,
    deploymentId: 'deployment-h',
    bootId: 'b',
    simulated: true,
    now,
  };
  return { $case: 'hello', value: { ...value, sessionCounter: 1, ...change } };
}

const vm: ObservedVm = {
  ...{
    key: '/etc/xen/a.cfg',
    name: 'a',
    cfgPath: '/etc/xen/a.cfg',
    uuid: '',
    state: VmState.STOPPED,
    memoryMib: 256,
    vcpus: 1,
  },
  vifs: [{ index: 0, mac: '00:16:3e:00:00:01', bridge: 'br0', guestAddress: '10.180.0.9' }],
  hostKeys: [],
  autostart: false,
  problem: '',
};
const change = (...changed: ObservedVm[]): Message => ({
  $case: 'change',
  value: { changed, gone: [], bridges: undefined, stores: undefined },
});

async function connected() {
  const world = new FleetWorld();
  world.host('h', []);
  const wire = new Wire(world, 'h');
  wire.send(hello(world));
  wire.send({ $case: 'fullState', value: { vms: [vm], bridges: undefined, stores: undefined } });
  await settle();
  return { world, wire };
}

await t.test('a session begins with hello and is welcomed', async (t) => {
  const { world, wire } = await connected();
  t.match(wire.received, [{ $case: 'welcome', value: { heartbeatMs: 250 } }]);
  t.match(world.vm('a'), { state: 'stopped', memoryMib: 256 });
  const hosts = hostQueryHandlers(new HostQuery(world));
  t.match(await hosts.get({ name: 'h' }, {} as CallInfo), { host: { state: HostState.ONLINE, vms: 1, facts } });
  wire.sent.close();
  await settle();
  t.equal(wire.outcome, 'ended');
  t.equal(world.fleet.isReachable(1), false);
});

await t.test('what cannot begin does not', async (t) => {
  const cases = [
    { name: 'no certificate of an agent', host: undefined, send: undefined, code: 'forbidden' },
    { name: 'a host that is unknown', host: 'other', send: {}, code: 'not_found' },
    { name: 'a restored image', host: 'h', send: { deploymentId: 'x' }, code: 'wrong_state' },
    { name: 'no facts', host: 'h', send: { facts: undefined }, code: 'invalid', field: 'hello.facts' },
    { name: 'no counter', host: 'h', send: { sessionCounter: 0 }, code: 'invalid', field: 'hello.session_counter' },
    { name: 'no deployment', host: 'h', send: { deploymentId: '' }, code: 'invalid', field: 'hello.deployment_id' },
  ];
  for (const { name, host, send, code, field } of cases) {
    await t.test(name, async (t) => {
      const world = new FleetWorld();
      world.host('h', []);
      const wire = new Wire(world, host);
      if (send) wire.send(hello(world, send));
      await settle();
      t.match(wire.outcome, { code, ...(field !== undefined && { details: { field } }) });
      t.same(wire.received, []);
      t.equal(world.timers.count, 0);
    });
  }

  await t.test('one that says nothing, or something else first', async (t) => {
    const world = new FleetWorld();
    world.host('h', []);
    const [silent, rude, gone] = [new Wire(world, 'h'), new Wire(world, 'h'), new Wire(world, 'h')];
    rude.send(change(vm));
    gone.sent.close();
    await settle();
    t.match(rude.outcome, { code: 'invalid' });
    t.match(gone.outcome, { code: 'invalid' });
    t.equal(silent.outcome, 'open');
    await world.timers.advance(10_000);
    t.match(silent.outcome, { code: 'timeout' });
  });
});

await t.test('a malformed message ends the session and names its field', async (t) => {
  const vif = vm.vifs[0]!;
  const cases: { message: Message; field: string }[] = [
    { message: change({ ...vm, key: '' }), field: 'change.changed[0].key' },
    { message: change(vm, vm), field: 'change.changed' },
    { message: change({ ...vm, vifs: [{ ...vif, mac: 'x' }] }), field: 'change.changed[0].vifs[0].mac' },
    {
      message: change({ ...vm, vifs: [{ ...vif, guestAddress: '1' }] }),
      field: 'change.changed[0].vifs[0].guest_address',
    },
    { message: change({ ...vm, vifs: [vif, vif] }), field: 'change.changed[0].vifs' },
    {
      message: { $case: 'event', value: { kind: 'lease.bound', message: '', vmKey: '', details: {} } },
      field: 'event.kind',
    },
    {
      message: { $case: 'event', value: { kind: 'nonsense', message: '', vmKey: '', details: {} } },
      field: 'event.kind',
    },
    {
      message: {
        $case: 'result',
        value: {
          orderId: '',
          errorCode: '',
          message: '',
          details: {},
          vm,
          warnings: [],
          stores: undefined,
          look: undefined,
          offer: undefined,
          admission: undefined,
          again: false,
        },
      },
      field: 'result.order_id',
    },
  ];
  for (const { message, field } of cases) {
    await t.test(`${message.$case}: ${field}`, async (t) => {
      const { world, wire } = await connected();
      wire.send(message);
      await settle();
      t.match(wire.outcome, { code: 'invalid', details: { field } });
      t.equal(world.fleet.isReachable(1), false);
    });
  }

  await t.test('hello twice', async (t) => {
    const { world, wire } = await connected();
    wire.send(hello(world));
    await settle();
    t.match(wire.outcome, { code: 'invalid' });
  });

  await t.test('but odd text is cleaned, and what is new is unknown', async (t) => {
    const { world, wire } = await connected();
    wire.send(change({ ...vm, name: 'a\u001b[2J', state: 99 as VmState }));
    wire.sent.push({ message: undefined });
    await settle();
    t.equal(wire.outcome, 'open');
    t.match(world.vm('1'), { name: 'a\u{fffd}[2J', state: 'unknown' });
  });
});

await t.test('a session is ended by others', async (t) => {
  await t.test('by a second one, by revocation, by silence, by the client', async (t) => {
    const { world, wire } = await connected();
    const second = new Wire(world, 'h');
    second.send(hello(world, { sessionCounter: 2 }));
    await settle();
    t.match(wire.outcome, { code: 'raced' });
    world.fleet.cutHost(1, 'revoked');
    await settle();
    t.match(second.outcome, { code: 'unauthenticated' });
    const third = new Wire(world, 'h');
    third.send(hello(world, { sessionCounter: 3 }));
    await settle();
    await world.timers.advance(29_000);
    third.send({ $case: 'heartbeat', value: { memoryFreeMib: 1, metrics: {} } });
    await settle();
    await world.timers.advance(29_999);
    await world.fleet.sweep();
    await settle();
    t.equal(third.outcome, 'open');
    await world.timers.advance(1);
    await world.fleet.sweep();
    await settle();
    t.match(third.outcome, { code: 'unavailable' });
    const fourth = new Wire(world, 'h');
    fourth.send(hello(world, { sessionCounter: 4 }));
    await settle();
    fourth.abort.abort();
    await settle();
    t.equal(fourth.outcome, 'ended');
    t.equal(world.timers.count, 0);
  });

  await t.test('an agent that does not read', async (t) => {
    const outbox = new Outbox<number>(2);
    t.same([outbox.push(1), outbox.push(2), outbox.push(3)], [true, true, false]);
    outbox.close();
    outbox.fail(new Error('too late'));
    const all: number[] = [];
    for await (const each of outbox.read()) all.push(each);
    t.same(all, [1, 2]);
    t.equal(outbox.push(4), false);
  });
});

await t.test('from the client to the host and back', async (t) => {
  const { world, wire } = await connected();
  const writeLease = ({ lease, reservation }: { lease: { id: number }; reservation: string }): Lease =>
    Lease.create({ id: lease.id, reservation });
  const images = { get: () => Promise.reject(new Error('no image')) };
  const handlers = vmHandlers({ ...world, images, writeLease });
  const call: CallInfo = {
    caller: ADMIN,
    agentHost: undefined,
    log: pino({ level: 'silent' }),
    signal: wire.abort.signal,
  };
  const selector = { names: ['a'], all: false };
  const told: VmProgress[] = [];
  const reading = (async () => {
    const request = { requestId: '', selector, reservation: '', dryRun: false, bridge: '' };
    for await (const each of handlers.address(request, call))
      told.push(VmProgress.decode(VmProgress.encode(each).finish()));
  })();
  await settle();
  const order = wire.received.at(-1);
  t.match(order, {
    $case: 'order',
    value: {
      vmKey: vm.key,
      timeoutMs: 300_000,
      action: {
        $case: 'configure',
        value: {
          hostname: 'a',
          vifs: [
            {
              index: 0,
              address: '10.180.0.1',
              mac: '00:16:3e:b4:00:01',
              defaultRoute: true,
              settings: { prefixLength: 14 },
            },
          ],
        },
      },
    },
  });
  const orderId = order?.$case === 'order' ? order.value.orderId : '';
  wire.send({ $case: 'progress', value: { orderId, message: 'fsck', percent: 120 } });
  const vifs = [{ ...vm.vifs[0]!, mac: '00:16:3e:b4:00:01', guestAddress: '10.180.0.1' }];
  const done = {
    orderId,
    errorCode: '',
    message: '',
    details: {},
    warnings: ['an empty\u001b password', ''],
    stores: undefined,
    look: undefined,
    offer: undefined,
    admission: undefined,
    again: true,
  };
  wire.send({ $case: 'result', value: { ...done, vm: { ...vm, vifs } } });
  wire.send({ $case: 'result', value: { ...done, vm: undefined } });
  await reading;
  t.equal(wire.outcome, 'open', 'an answer that comes twice is no fault');
  t.same(
    told.map(({ progress }) => progress?.$case),
    ['plan', 'step', 'step', 'result'],
  );
  t.match(told[2]?.progress?.value, { message: 'fsck', percent: 100 });
  t.match(told[3]?.progress?.value, {
    errorCode: '',
    state: { vifs: [{ lease: { id: 1, reservation: 'job-1' } }], simulated: true },
    warnings: ['an empty\u{fffd} password'],
  });

  const metrics = {
    sampledAt: new Date(7),
    cpuSeconds: 1.5,
    memoryMib: 256,
    rxBytes: 2n ** 60n,
    txBytes: 1n,
    diskReadBytes: 1n,
    diskWrittenBytes: 1n,
  };
  wire.send(change({ ...vm, state: VmState.RUNNING }));
  wire.send({ $case: 'heartbeat', value: { memoryFreeMib: 3, metrics: { [vm.key]: metrics } } });
  await settle();
  const list = await handlers.list({ selector: undefined }, call);
  const { vms } = ListVmsResponse.decode(ListVmsResponse.encode(list).finish());
  t.match(vms, [{ name: 'a', host: 'h', state: VmState.RUNNING, stale: false, metrics: { rxBytes: 2n ** 60n } }]);
  t.match(await handlers.get({ name: '1', look: false }, call), { vm: { name: 'a' } });
  t.same(await conflictHandlers(world.conflicts).listConflicts({}, call), { conflicts: [] });

  const refused: { name: string; run: () => unknown }[] = [
    {
      name: 'no selector',
      run: () => handlers.start({ requestId: '', selector: undefined, force: false, dryRun: false }, call),
    },
    {
      name: 'empty name',
      run: () => handlers.destroy({ requestId: '', selector: { names: [''], all: false }, dryRun: false }, call),
    },
    {
      name: 'condition',
      run: () => handlers.wait({ selector, condition: WaitCondition.UNSPECIFIED, timeoutSeconds: 0 }, call),
    },
    {
      name: 'wait',
      run: () => handlers.wait({ selector, condition: WaitCondition.RUNNING, timeoutSeconds: 86_401 }, call),
    },
    {
      name: 'shutdown',
      run: () =>
        handlers.shutdown({ requestId: '', selector, timeoutSeconds: 3_601, dryRun: false, destroyAfter: false }, call),
    },
    { name: 'get', run: () => handlers.get({ name: '', look: false }, call) },
  ];
  for (const { name, run } of refused) await t.rejects(Promise.resolve().then(run), { code: 'invalid' }, name);
});

t.test('what a program printed on a host keeps its lines, and nothing that moves a terminal', (t) => {
  const cleaned = detailsFrom({ output: 'one\r\n\ttwo \u001b[2J', hint: 'no\nlines' });
  t.same(cleaned, { output: 'one\n\ttwo \u{fffd}[2J', hint: 'no\u{fffd}lines' });
  t.end();
});
