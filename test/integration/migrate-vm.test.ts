import { join } from 'node:path';
import { credentials } from '@grpc/grpc-js';
import t, { type Test } from 'tap';
import type { MigrateRequest } from '../../controller/services/vm-migrator.js';
import type { HostBridges } from '../../shared/domain/bridge.js';
import { formatIpv4 } from '../../shared/domain/ipv4.js';
import { Storage, VmServiceClient } from '../../shared/gen/domherd/v1/vm.js';
import { callStream } from '../../shared/grpc/client.js';
import { imageVm, obey, type Behaviour, type FakeAgent } from '../fakes/fake-agent.js';
import { ADMIN, collect, FleetWorld, resultsOf } from '../fakes/fleet-world.js';
import { settle } from '../fakes/manual-timer.js';
import { ConsoleRig } from '../harness/console-rig.js';

const NEVER = new AbortController().signal;
const WEB = '/etc/xen/web.cfg';
const MOVE: MigrateRequest = {
  ...{ selector: { names: ['web'], all: false }, to: 'dom0-2', isCold: true, isDryRun: false },
  ...{ timeoutSeconds: 60, isDestroyedAfter: false },
};

type When = 'before' | 'after';

/** dom0-1 with a VM "web" that has an address and a label, dom0-2 with nothing. */
async function makeWorld(isUp: boolean) {
  const web = imageVm({ key: WEB, cfgPath: WEB, name: 'web', uuid: 'u-web' });
  const world = new FleetWorld();
  const [one, two] = [world.host('dom0-1', [web]), world.host('dom0-2', [])];
  await Promise.all([one.connect(), two.connect()]);
  const selector = { names: ['web'], all: false };
  const address = { selector, reservation: undefined, address: undefined, isDryRun: false };
  await collect(world.addresser.address(address, ADMIN, NEVER));
  await world.labeler.change(selector, { role: 'db' }, ADMIN);
  if (isUp) await collect(world.starter.start({ selector, force: false, isDryRun: false }, ADMIN, NEVER));
  const before = world.vm('web');
  const agents = [one, two] as const;
  for (const agent of agents) agent.ran.splice(0);
  return { world, one, two, agents, before };
}

/** At the n-th order that any of the agents is given, before or after it is carried out. @returns how many came */
function atOrder(agents: readonly FakeAgent[], n: number, when: When, act: () => void): () => number {
  let orders = 0;
  const behave: Behaviour = (order, agent) => {
    const isIt = ++orders === n;
    if (isIt && when === 'before') act();
    // The agent of a host does what it was told, whoever dies.
    const outcome = obey(order, agent);
    if (isIt && when === 'after') act();
    return outcome;
  };
  for (const agent of agents) agent.behave = behave;
  return () => orders;
}

function bridgesOf(name: string): HostBridges {
  const bridge = { name, members: ['eth0'], uplinks: ['eth0'], addresses: [], isUp: true };
  return { bridges: [bridge], xlBridge: undefined, xlScript: undefined };
}

const kinds = (agent: FakeAgent) => agent.ran.map(({ action }) => action.kind);

/** There is one "web", with all that it had. @returns its host */
function checkOne(
  t: Test,
  world: FleetWorld,
  agents: readonly FakeAgent[],
  before: { readonly id: number },
  isUp: boolean,
) {
  const there = agents.filter((agent) => [...agent.vms.values()].some(({ name }) => name === 'web'));
  t.equal(there.length, 1, 'one host has it');
  const known = world.fleet.vms.byName('web').filter(({ isGone }) => !isGone);
  t.equal(known.length, 1, 'and the controller knows one');
  const [vm] = known;
  t.equal(vm?.id, before.id, 'the same');
  t.equal(vm?.hostId, there[0]?.options.hostId, 'there');
  t.match(
    world.database.read(({ vms }) => vms.list()),
    [{ id: before.id, hostId: vm?.hostId, isGone: false }],
    'kept so',
  );
  t.equal(vm?.state, isUp ? 'running' : 'stopped');
  const [lease, ...others] = world.allLeases();
  t.match(lease, { state: 'bound', mac: vm?.vifs[0]?.mac, address: vm?.vifs[0]?.guestAddress });
  t.equal(others.length, 0);
  t.strictSame(world.query.view(vm!).labels, { role: 'db' });
  const live = world.database.read(({ jobs }) => [...jobs.listLive('migrate'), ...jobs.listLive('leave')]);
  t.strictSame(live, [], 'nothing is under way');
  return world.fleet.hostName(vm!.hostId);
}

t.test('a VM goes to another host with all that it has', async (t) => {
  for (const isUp of [true, false]) {
    const { world, one, two, agents, before } = await makeWorld(isUp);
    const dry = await collect(world.migrator.migrate({ ...MOVE, isDryRun: true }, ADMIN, NEVER));
    const actions = dry[0]?.kind === 'plan' ? dry[0].steps.map(({ action, host }) => `${action} ${host}`) : [];
    t.strictSame(actions, [
      ...(isUp ? ['shut down dom0-1'] : []),
      ...['copy dom0-2', 'remove dom0-1'],
      ...(isUp ? ['start dom0-2'] : []),
    ]);
    t.strictSame([kinds(one), kinds(two)], [[], []], 'a dry run does nothing');
    const results = await resultsOf(world.migrator.migrate(MOVE, ADMIN, NEVER));
    t.match(results, [
      { code: undefined, host: 'dom0-2', message: isUp ? 'migrated to dom0-2, started' : 'migrated to dom0-2' },
    ]);
    t.equal(checkOne(t, world, agents, before, isUp), 'dom0-2');
    t.strictSame(kinds(one), [...(isUp ? ['shutdown'] : []), 'send', 'leave']);
    t.strictSame(kinds(two), ['receive', ...(isUp ? ['start'] : [])]);
    t.equal(two.vms.get(WEB)?.uuid, 'u-web');
    t.match(world.allEvents('vm.migrated'), [{ message: 'VM web was migrated from dom0-1 to dom0-2 by admin:ann' }]);
    t.match(await resultsOf(world.migrator.migrate(MOVE, ADMIN, NEVER)), [
      { code: undefined, message: 'already on dom0-2' },
    ]);
    t.match(
      await resultsOf(world.migrator.migrate({ ...MOVE, to: 'dom0-1' }, ADMIN, NEVER)),
      [{ code: undefined }],
      'and back',
    );
    t.equal(checkOne(t, world, agents, before, isUp), 'dom0-1');
    // What hosts tell of it later is of the same VM.
    await one.set(WEB, { memoryMib: 640 });
    t.match(world.vm('web'), { id: before.id, memoryMib: 640 });
  }
});

t.test('the controller is killed at each step', async (t) => {
  for (const isUp of [true, false]) {
    const ends = new Set<string>();
    const orders = isUp ? 5 : 3;
    for (let step = 1; step <= orders; step++) {
      for (const when of ['before', 'after'] as const) {
        await t.test(`${isUp ? 'up' : 'stopped'}, ${when} order ${String(step)}`, async (t) => {
          const { world, agents, before } = await makeWorld(isUp);
          const count = atOrder(agents, step, when, () => world.die());
          collect(world.migrator.migrate(MOVE, ADMIN, NEVER)).catch(() => []);
          await settle(80);
          t.ok(count() >= step, 'it came so far');
          for (const agent of agents) agent.behave = obey;
          const next = world.restart();
          next.migrator.resume();
          await settle();
          await Promise.all(agents.map((agent) => agent.connect()));
          await settle(120);
          ends.add(checkOne(t, next, agents, before, isUp));
          // Nothing of it stands in the way of the next one.
          const host = next.fleet.hostName(next.vm('web').hostId);
          const back = { ...MOVE, to: host === 'dom0-1' ? 'dom0-2' : 'dom0-1' };
          t.match(await resultsOf(next.migrator.migrate(back, ADMIN, NEVER)), [{ code: undefined }]);
          t.equal(checkOne(t, next, agents, before, isUp), back.to);
        });
      }
    }
    t.strictSame([...ends].sort(), ['dom0-1', 'dom0-2'], 'undone before the move, gone on with after it');
  }
});

t.test('a step fails, or is not answered', async (t) => {
  const fail: Behaviour = ({ vmKey }, agent) => {
    return { kind: 'failed', code: 'timeout', message: 'no', details: {}, vm: agent.vms.get(vmKey) };
  };
  const only =
    (kind: string, then: Behaviour): Behaviour =>
    (order, agent) =>
      order.action.kind === kind ? then(order, agent) : obey(order, agent);
  await t.test('the guest does not shut down: it runs where it was', async (t) => {
    const { world, one, two, agents, before } = await makeWorld(true);
    one.behave = only('shutdown', fail);
    t.match(await resultsOf(world.migrator.migrate(MOVE, ADMIN, NEVER)), [{ code: 'timeout', host: 'dom0-1' }]);
    t.equal(checkOne(t, world, agents, before, true), 'dom0-1');
    t.strictSame([kinds(one), kinds(two)], [['shutdown'], []]);
    t.match(world.allEvents('vm.migrate-undone'), [{ message: 'VM web@dom0-1 was not migrated to dom0-2: no' }]);
  });
  await t.test('the copy fails: it runs again where it was', async (t) => {
    const { world, one, two, agents, before } = await makeWorld(true);
    two.behave = only('receive', fail);
    t.match(await resultsOf(world.migrator.migrate(MOVE, ADMIN, NEVER)), [{ code: 'timeout', message: 'no' }]);
    t.equal(checkOne(t, world, agents, before, true), 'dom0-1');
    t.strictSame(kinds(one), ['shutdown', 'send', 'start']);
    t.strictSame(kinds(two), ['receive'], 'its host has undone it itself');
  });
  await t.test('the client leaves: undone', async (t) => {
    const { world, one, agents, before } = await makeWorld(true);
    const leave = new AbortController();
    one.behave = only('shutdown', (order, agent) => {
      leave.abort();
      return obey(order, agent);
    });
    await collect(world.migrator.migrate(MOVE, ADMIN, leave.signal));
    await settle(60);
    t.equal(checkOne(t, world, agents, before, true), 'dom0-1');
  });
  await t.test('somebody starts it by hand in the middle: undone', async (t) => {
    const { world, one, two, agents, before } = await makeWorld(false);
    two.behave = only('receive', (order, agent) => {
      void one.set(WEB, { state: 'running' });
      return obey(order, agent);
    });
    t.match(await resultsOf(world.migrator.migrate(MOVE, ADMIN, NEVER)), [
      { code: 'raced', message: /web is running/ },
    ]);
    t.strictSame(kinds(two), ['receive', 'remove']);
    t.equal(checkOne(t, world, agents, before, true), 'dom0-1');
  });
  await t.test('it may not start there: it is there, and that is told', async (t) => {
    const { world, two, agents, before } = await makeWorld(true);
    two.behave = only('start', fail);
    t.match(await resultsOf(world.migrator.migrate(MOVE, ADMIN, NEVER)), [
      { code: 'timeout', message: 'migrated to dom0-2; it is not started: no' },
    ]);
    t.equal(checkOne(t, world, agents, before, false), 'dom0-2');
  });
  await t.test('the former host keeps it: that is told', async (t) => {
    const { world, one, two } = await makeWorld(false);
    one.behave = only('leave', fail);
    t.match(await resultsOf(world.migrator.migrate(MOVE, ADMIN, NEVER)), [
      { code: undefined, warnings: ['what is left on dom0-1: no'] },
    ]);
    t.match(world.allEvents('vm.left-behind'), [{ message: 'VM web: what is left on dom0-1: no' }]);
    t.ok(two.vms.has(WEB));
  });
  await t.test('how its disks are kept there is for its new host', async (t) => {
    const { world, two } = await makeWorld(false);
    const kept: unknown[] = [];
    two.behave = (order, agent) => {
      if (order.action.kind === 'receive') kept.push(order.action.storage);
      return obey(order, agent);
    };
    const results = await resultsOf(world.migrator.migrate({ ...MOVE, storage: 'lvm-thin' }, ADMIN, NEVER));
    t.match([results, kept], [[{ code: undefined }], ['lvm-thin']]);
  });
  await t.test('a volume of it that was not made by domherd stays: that is told', async (t) => {
    const { world, one } = await makeWorld(false);
    const sent: unknown[] = [];
    one.behave = (order, agent) => {
      const outcome = obey(order, agent);
      if (order.action.kind === 'send') sent.push(order.action.isMoved);
      return order.action.kind === 'leave' ? { kind: 'done', vm: undefined, warnings: ['/dev/vg/a stays'] } : outcome;
    };
    t.match(await resultsOf(world.migrator.migrate(MOVE, ADMIN, NEVER)), [
      { code: undefined, warnings: ['dom0-1: /dev/vg/a stays'] },
    ]);
    t.match(world.allEvents('vm.left-behind'), [{ message: 'VM web: dom0-1: /dev/vg/a stays' }]);
    t.strictSame(sent, [true], 'and its host knows what it is sent for');
  });
});

t.test('nobody else touches it meanwhile', async (t) => {
  const { world, one, two, agents, before } = await makeWorld(false);
  const selector = { names: [String(before.id)], all: false };
  const verbs = () => ({
    start: world.starter.start({ selector, force: true, isDryRun: false }, ADMIN, NEVER),
    delete: world.deleter.delete({ selector, isDryRun: false }, ADMIN, NEVER),
    destroy: world.service.tell({ kind: 'destroy' }, { selector, isDryRun: false }, ADMIN, NEVER),
    address: world.addresser.address(
      { selector, reservation: undefined, address: undefined, isDryRun: false },
      ADMIN,
      NEVER,
    ),
    migrate: world.migrator.migrate({ ...MOVE, to: 'dom0-3' }, ADMIN, NEVER),
  });
  await world.host('dom0-3', []).connect();
  two.behave = () => 'silent';
  const results = resultsOf(world.migrator.migrate(MOVE, ADMIN, NEVER));
  await settle(60);
  t.strictSame(kinds(two), ['receive']);
  for (const [verb, told] of Object.entries(verbs())) {
    t.match(await resultsOf(told), [{ code: 'wrong_state', message: /being migrated: from dom0-1 to dom0-2/ }], verb);
  }
  const again = collect(world.migrator.migrate(MOVE, ADMIN, NEVER));
  await settle(20);
  two.behave = obey;
  one.behave = () => 'silent';
  two.kill();
  // The order that it was given is repeated; this fake has not begun with it.
  await two.connect();
  await settle(60);
  t.equal(world.vm('web').hostId, two.options.hostId, 'it is there now, its former host is silent');
  one.kill();
  await one.connect();
  await settle(60);
  const left = world.query.get('web@dom0-1').vm;
  t.not(left.id, before.id, 'what is left is another VM to those who look');
  const names = { names: ['web@dom0-1'], all: false };
  t.match(await resultsOf(world.starter.start({ selector: names, force: true, isDryRun: false }, ADMIN, NEVER)), [
    { code: 'wrong_state', message: /what is left of it on dom0-1 is taken away/ },
  ]);
  t.match(await resultsOf(world.migrator.migrate({ ...MOVE, to: 'dom0-1', selector }, ADMIN, NEVER)), [
    { code: 'wrong_state', message: /has to wait: the migration of web from dom0-1 to dom0-2 is not over/ },
  ]);
  one.behave = obey;
  one.kill();
  await one.connect();
  await settle(60);
  t.match(await results, [{ code: undefined }]);
  t.equal(checkOne(t, world, agents, before, false), 'dom0-2');
  t.strictSame((await again).at(-1), (await results)[0], 'asked again meanwhile, it was followed');
});

t.test('a VM that ran starts on its new host though the former one is gone', async (t) => {
  const { world, one, two, agents, before } = await makeWorld(true);
  one.behave = (order, agent) => {
    if (order.action.kind !== 'leave') return obey(order, agent);
    agent.kill();
    return 'silent';
  };
  const results = resultsOf(world.migrator.migrate(MOVE, ADMIN, NEVER));
  await settle(80);
  t.strictSame(kinds(two), ['receive', 'start']);
  t.match(world.vm('web@dom0-2'), { id: before.id, state: 'running' });
  one.behave = obey;
  await one.connect();
  await settle(60);
  t.match(await results, [{ code: undefined, message: 'migrated to dom0-2, started' }]);
  t.equal(checkOne(t, world, agents, before, true), 'dom0-2');
});

const LIVE: MigrateRequest = { ...MOVE, isCold: false };

t.test('live', async (t) => {
  await t.test('it goes while it runs, with all that it had', async (t) => {
    const { world, one, two, agents, before } = await makeWorld(true);
    const [plan] = await collect(world.migrator.migrate({ ...LIVE, isDryRun: true }, ADMIN, NEVER));
    const actions = plan?.kind === 'plan' ? plan.steps.map(({ action, host }) => `${action} ${host}`) : [];
    t.strictSame(actions, ['let in dom0-2', 'send dom0-1', 'remove dom0-1']);
    t.match(await resultsOf(world.migrator.migrate(LIVE, ADMIN, NEVER)), [
      { code: undefined, host: 'dom0-2', message: 'migrated to dom0-2, live', warnings: [] },
    ]);
    t.equal(checkOne(t, world, agents, before, true), 'dom0-2');
    t.strictSame(kinds(one), ['offer', 'handOver', 'settleDeparture']);
    t.strictSame(kinds(two), ['admit', 'settleArrival']);
    const back = await resultsOf(world.migrator.migrate({ ...LIVE, to: 'dom0-1' }, ADMIN, NEVER));
    t.match(back, [{ code: undefined }]);
    t.equal(checkOne(t, world, agents, before, true), 'dom0-1');
  });

  await t.test('the controller is killed at each step: it runs on one of both, and goes again', async (t) => {
    const ends = new Set<string>();
    for (let step = 1; step <= 5; step++) {
      for (const when of ['before', 'after'] as const) {
        const { world, agents, before } = await makeWorld(true);
        const count = atOrder(agents, step, when, () => world.die());
        collect(world.migrator.migrate(LIVE, ADMIN, NEVER)).catch(() => []);
        await settle(80);
        t.ok(count() >= step, `${when} order ${String(step)}`);
        for (const agent of agents) agent.behave = obey;
        const next = world.restart();
        next.migrator.resume();
        await settle();
        await Promise.all(agents.map((agent) => agent.connect()));
        await settle(120);
        ends.add(checkOne(t, next, agents, before, true));
        const host = next.fleet.hostName(next.vm('web').hostId);
        const back = { ...LIVE, to: host === 'dom0-1' ? 'dom0-2' : 'dom0-1' };
        t.match(await resultsOf(next.migrator.migrate(back, ADMIN, NEVER)), [{ code: undefined }]);
        t.equal(checkOne(t, next, agents, before, true), back.to);
      }
    }
    t.strictSame([...ends].sort(), ['dom0-1', 'dom0-2']);
  });

  const no = { kind: 'failed', code: 'wrong_state', message: 'other bytes', details: { hint: '--cold' } } as const;
  const failing =
    (kind: string): Behaviour =>
    (order, agent) =>
      order.action.kind === kind ? { ...no, vm: agent.vms.get(order.vmKey) } : obey(order, agent);
  const cases = [
    { kind: 'offer', one: ['offer', 'settleDeparture'], two: [] },
    { kind: 'admit', one: ['offer', 'settleDeparture'], two: ['admit'] },
    { kind: 'handOver', one: ['offer', 'handOver', 'settleDeparture'], two: ['admit', 'settleArrival'] },
  ];
  for (const c of cases) {
    await t.test(`${c.kind} is refused: it runs on where it was, and is told why`, async (t) => {
      const { world, one, two, agents, before } = await makeWorld(true);
      for (const agent of agents) agent.behave = failing(c.kind);
      t.match(await resultsOf(world.migrator.migrate(LIVE, ADMIN, NEVER)), [
        { code: 'wrong_state', host: 'dom0-1', message: 'other bytes', details: { hint: '--cold' } },
      ]);
      t.equal(checkOne(t, world, agents, before, true), 'dom0-1');
      t.strictSame([kinds(one), kinds(two)], [c.one, c.two], 'it is not shut down');
    });
  }

  await t.test('a hand-over that failed may have happened: its new host says so', async (t) => {
    const { world, one, agents, before } = await makeWorld(true);
    one.behave = (order, agent) => {
      const outcome = obey(order, agent);
      return order.action.kind === 'handOver' ? { ...no, vm: undefined } : outcome;
    };
    t.match(await resultsOf(world.migrator.migrate(LIVE, ADMIN, NEVER)), [{ code: undefined }]);
    t.equal(checkOne(t, world, agents, before, true), 'dom0-2');
  });

  await t.test('its host dies with it in the middle: it starts again there', async (t) => {
    const { world, one, agents, before } = await makeWorld(true);
    one.behave = (order, agent) => {
      if (order.action.kind !== 'handOver') return obey(order, agent);
      agent.change(WEB, { state: 'stopped' });
      return { ...no, vm: agent.vms.get(WEB) };
    };
    t.match(await resultsOf(world.migrator.migrate(LIVE, ADMIN, NEVER)), [{ code: 'wrong_state' }]);
    t.equal(checkOne(t, world, agents, before, true), 'dom0-1');
  });

  await t.test('its new host is away when it is to say: nothing is decided before it is back', async (t) => {
    const { world, one, two, agents, before } = await makeWorld(true);
    one.behave = (order, agent) => {
      const outcome = obey(order, agent);
      if (order.action.kind === 'handOver') two.kill();
      return outcome;
    };
    const results = resultsOf(world.migrator.migrate(LIVE, ADMIN, NEVER));
    await settle(80);
    t.strictSame(kinds(one), ['offer', 'handOver'], 'it is not started again');
    await two.connect();
    await settle(60);
    t.match(await results, [{ code: undefined }]);
    t.equal(checkOne(t, world, agents, before, true), 'dom0-2');
  });
});

t.test('what cannot go is refused, with nothing done', async (t) => {
  const { world, one, two, agents, before } = await makeWorld(true);
  const refuses = async (change: Partial<MigrateRequest>, error: object) => {
    const results = await resultsOf(world.migrator.migrate({ ...MOVE, ...change }, ADMIN, NEVER));
    t.match(results, [error]);
    t.strictSame([kinds(one), kinds(two)], [[], []]);
  };
  await one.set(WEB, { state: 'paused' });
  await refuses(
    { isCold: false },
    { code: 'wrong_state', message: /cannot go live: it is paused/, details: { hint: /--cold/ } },
  );
  await one.set(WEB, { state: 'running' });
  for (const agent of [one, two]) {
    agent.kill();
    agent.bridges = bridgesOf(agent === one ? 'br0' : 'xenbr0');
    await agent.connect();
  }
  for (const isCold of [true, false])
    await refuses({ isCold }, { code: 'wrong_state', message: /web.* cannot run on dom0-2: [^]*br0/ });
  two.kill();
  two.bridges = undefined;
  two.stores = [];
  await two.connect();
  for (const isDryRun of [true, false]) {
    const noPool = { code: 'exhausted', message: /dom0-2 has no thin pool/, details: { hint: /lvcreate --type/ } };
    await refuses({ storage: 'lvm-thin', isDryRun }, noPool);
  }
  two.kill();
  two.stores = undefined;
  await two.connect();
  await t.rejects(collect(world.migrator.migrate({ ...MOVE, to: 'dom0-9' }, ADMIN, NEVER)), { code: 'not_found' });
  await t.rejects(collect(world.migrator.migrate({ ...MOVE, to: 'dom0-[1-2]' }, ADMIN, NEVER)), { code: 'invalid' });
  await one.set(WEB, { memoryMib: 8192 });
  await refuses({}, { code: 'exhausted', message: /dom0-2 has not the memory for VM web@dom0-1: 8192 MiB free/ });
  await one.set(WEB, { memoryMib: 512 });
  two.vms.set('/etc/xen/other.cfg', imageVm({ key: '/etc/xen/other.cfg', cfgPath: '/etc/xen/other.cfg', name: 'web' }));
  two.kill();
  await refuses({}, { code: 'unavailable', message: /dom0-2 is not online/ });
  await two.connect();
  await refuses(
    { selector: { names: ['web@dom0-1'], all: false } },
    { code: 'already_exists', message: /VM web@dom0-2/ },
  );
  two.vms.clear();
  two.kill();
  await two.connect();
  await one.set(WEB, { state: 'crashed' });
  await refuses({}, { code: 'wrong_state', details: { hint: 'destroy it first' } });
  await one.set(WEB, { state: 'running' });
  t.equal(checkOne(t, world, agents, before, true), 'dom0-1');
  t.equal(world.allLeases().map(({ address }) => formatIpv4(address)).length, 1);
});

t.test('the command line', async (t) => {
  const rig = await ConsoleRig.start(false);
  t.teardown(() => rig.stop());
  const refused = async (command: string, exitCode: number, text: RegExp) => {
    const run = await rig.cli(command);
    t.equal(run.exitCode, exitCode, `${command}: ${run.err}`);
    t.match(run.err, text);
  };
  await refused('vm migrate domU', 2, /--to <host>/);
  await refused('vm migrate --to dom0-1', 2, /no VM is named/);
  await refused('vm migrate domU --all --to dom0-1', 2, /exclude each other/);
  await refused('vm migrate domU --to dom0-9 --cold', 3, /dom0-9/);
  await refused('vm migrate nobody --to dom0-1 --cold', 3, /unknown/);
  await refused('vm migrate domU --to dom0-1 --cold --timeout 0s', 2, /1s to 1h/);
  await refused('vm migrate domU --to dom0-1 --cold --then explode', 2, /leave, destroy/);
  await refused('vm migrate domU --to dom0-1 --storage qcow2', 2, /--storage goes with --cold\nhint: add --cold, or/);
  await refused('vm migrate domU --to dom0-1 --cold --storage reflink', 2, /copy, lvm-thin, qcow2/);
  const client = new VmServiceClient(`unix:${join(rig.folder, 'controller.sock')}`, credentials.createInsecure());
  t.teardown(() => client.close());
  const request = { requestId: '', selector: { names: ['domU'], all: false }, to: 'dom0-1', dryRun: true };
  for (const storage of [Storage.REFLINK, Storage.LVM_SNAPSHOT]) {
    const wanted = { ...request, cold: true, timeoutSeconds: 0, destroyAfter: false, storage };
    const call = callStream(client.migrate.bind(client), wanted, { signal: NEVER });
    await t.rejects(call.next(), { code: 'invalid', details: { field: 'storage' } });
  }
  for (const how of ['', ' --cold', ' --cold --storage qcow2']) {
    const { exitCode, out } = await rig.cli(`vm migrate domU --to dom0-1${how}`);
    t.match([exitCode, out], [0, /already on dom0-1/]);
  }
});
