import t, { type Test } from 'tap';
import type { OrderAction } from '../../controller/ports/agent-link.js';
import type { CreateRequest } from '../../controller/services/vm-creator.js';
import type { VmProgress } from '../../controller/services/vm-progress.js';
import { formatIpv4 } from '../../shared/domain/ipv4.js';
import { obey, type Behaviour, type FakeAgent } from '../fakes/fake-agent.js';
import { ADMIN, collect, FleetWorld, resultsOf } from '../fakes/fleet-world.js';
import { settle } from '../fakes/manual-timer.js';

const never = new AbortController().signal;
const ANN = { ...ADMIN, requestId: 'request-of-ann', fingerprint: 'four' };

const FOUR: CreateRequest = {
  ...{ name: 'web', count: 4, source: { kind: 'like', like: 'domU' }, hosts: [], placement: 'spread' },
  ...{ shape: {}, reservation: undefined, bridge: undefined, isDryRun: false },
  ...{ labels: {}, apart: undefined, isStarted: false },
};

type When = 'before' | 'after';

/** Runs `act` at the n-th order that any of the agents is given, before or after it is carried out. */
function atOrder(agents: readonly FakeAgent[], n: number, when: When, act: () => void): void {
  let orders = 0;
  const behave: Behaviour = (order, agent) => {
    const isIt = ++orders === n;
    if (isIt && when === 'before') {
      act();
      // The agent of a host does what it was told, whoever dies.
      return obey(order, agent);
    }
    const outcome = obey(order, agent);
    if (isIt) act();
    return outcome;
  };
  for (const agent of agents) agent.behave = behave;
}

function ran(agents: readonly FakeAgent[], kind: OrderAction['kind']): number {
  return agents.flatMap((agent) => agent.ran).filter(({ action }) => action.kind === kind).length;
}

/** Every VM is whole or not there, every address has one VM, and none is left over. */
function checkWhole(t: Test, world: FleetWorld, agents: readonly FakeAgent[], want: number): void {
  const made = agents.flatMap((agent) => [...agent.vms.values()]).filter(({ name }) => name !== 'domU');
  t.equal(made.length, want, 'as many as are to be');
  t.equal(new Set(made.map(({ name }) => name)).size, want, 'no name twice');
  const live = world.allLeases().filter(({ state }) => state === 'bound' || state === 'pending');
  t.strictSame(
    live.map(({ state, address }) => `${state} ${formatIpv4(address)}`).sort(),
    made.map(({ vifs }) => `bound ${formatIpv4(vifs[0]!.guestAddress!)}`).sort(),
    'each has a lease, and no lease is over',
  );
  t.strictSame(
    world.database.read((stores) => stores.jobs.listLive('create')),
    [],
    'and nothing is under way',
  );
}

async function connectAll(agents: readonly FakeAgent[]): Promise<void> {
  await Promise.all(agents.map((agent) => agent.connect()));
  await settle(60);
}

t.test('the controller is killed at each step of a create', async (t) => {
  // Four copies, four addressings.
  for (let step = 1; step <= 8; step++) {
    for (const when of ['before', 'after'] as const) {
      for (const goesOn of ['by itself', 'by the request repeated'] as const) {
        await t.test(`${when} order ${String(step)} is done, gone on with ${goesOn}`, async (t) => {
          const { world, agents } = await FleetWorld.ofImage(2);
          atOrder(agents, step, when, () => world.die());
          const first = collect(world.creator.create(FOUR, ANN, never)).catch(() => []);
          await settle(60);
          const next = world.restart();
          next.creator.resume();
          await connectAll(agents);
          if (goesOn === 'by the request repeated') {
            const results = await resultsOf(next.creator.create(FOUR, ANN, never));
            t.strictSame(
              results.map(({ vm, code }) => [vm, code]).sort(),
              [1, 2, 3, 4].map((n) => [`web-${String(n)}`, undefined]),
            );
          }
          checkWhole(t, next, agents, 4);
          t.equal(ran(agents, 'copy'), 4, 'no copy was made twice');
          t.equal(next.allEvents('vm.created').length, 4, 'each is told of once');
          void first;
        });
      }
    }
  }
});

t.test('the controller is killed while VMs are made that start at once, and with their hosts', async (t) => {
  const two = { ...FOUR, count: 2, isStarted: true, isAutostarted: true };
  // Each is copied, addressed, set to start, started.
  for (const step of [1, 2, 3, 4, 5, 6, 7, 8]) {
    for (const when of ['before', 'after'] as const) {
      const { world, agents } = await FleetWorld.ofImage(2);
      atOrder(agents, step, when, () => world.die());
      collect(world.creator.create(two, ANN, never)).catch(() => []);
      await settle(60);
      const next = world.restart();
      next.creator.resume();
      await connectAll(agents);
      const where = `${when} order ${String(step)}`;
      checkWhole(t, next, agents, 2);
      t.strictSame(
        ['web-1', 'web-2'].map((name) => [next.vm(name).state, next.vm(name).isAutostarted]),
        [
          ['running', true],
          ['running', true],
        ],
        where,
      );
      t.strictSame([ran(agents, 'copy'), ran(agents, 'start')], [2, 2], `nothing twice, ${where}`);
    }
  }
});

const SITE: CreateRequest = {
  ...{ ...FOUR, name: 'site', count: 2, shape: { extraVifs: ['br0'] } },
  source: { kind: 'installer', installer: 'xen-tools', dist: 'bookworm' },
};

t.test('VMs whose maker writes the address have its lease before they are made', async (t) => {
  for (const step of [1, 2, 3, 4]) {
    for (const when of ['before', 'after'] as const) {
      await t.test(`the controller is killed ${when} order ${String(step)} is done`, async (t) => {
        const { world, agents } = await FleetWorld.ofImage(1);
        const pending: string[] = [];
        atOrder(agents, step, when, () => {
          if (step === 1)
            t.match(world.vm('site-1'), { isGone: true, problem: 'not made yet' }, 'nobody else can touch it');
          pending.push(...world.allLeases().map(({ state, owner }) => `${state} ${world.fleet.describeOwner(owner)}`));
          world.die();
        });
        collect(world.creator.create(SITE, ANN, never)).catch(() => []);
        await settle(60);
        if (step === 1) t.strictSame(pending, ['pending site-1@dom0-1#0']);
        const next = world.restart();
        next.creator.resume();
        await connectAll(agents);
        const results = await resultsOf(next.creator.create(SITE, ANN, never));
        t.strictSame(
          results.map(({ code }) => code),
          [undefined, undefined],
        );
        checkSites(t, next, agents, 2);
        const made = agents[0]!.received.filter(({ action }) => action.kind === 'make');
        for (const { action, vmKey } of made) {
          if (action.kind !== 'make') continue;
          const [vif] = agents[0]!.vms.get(vmKey)!.vifs;
          t.match(action.vif, { index: 0, mac: vif?.mac, address: vif?.guestAddress, hasDefaultRoute: true });
        }
      });
    }
  }
  for (const dies of [false, true]) {
    await t.test(`no lease is left of one that fails${dies ? ', though the controller dies' : ''}`, async (t) => {
      const { world, agents } = await FleetWorld.ofImage(1);
      let deaths = dies ? 1 : 0;
      agents[0]!.behave = () => {
        if (deaths-- > 0) world.die();
        return { kind: 'failed', code: 'unavailable', message: 'no mirror', details: {}, vm: undefined };
      };
      const results = resultsOf(world.creator.create(SITE, ANN, never)).catch(() => []);
      await settle(60);
      const next = dies ? world.restart() : world;
      if (dies) next.creator.resume();
      else t.match(await results, [{ code: 'unavailable' }, { code: 'unavailable' }]);
      await connectAll(agents);
      checkSites(t, next, agents, 0);
      const states = next.allLeases().map(({ state }) => state);
      t.strictSame(states, dies ? ['quarantined'] : [], 'one that a dead controller took rests');
      agents[0]!.behave = obey;
      await collect(next.creator.create(SITE, ANN, never));
      checkSites(t, next, agents, 2);
    });
  }
  await t.test('nor of one that is cancelled', async (t) => {
    for (const step of [1, 2, 3, 4]) {
      const { world, agents } = await FleetWorld.ofImage(1);
      atOrder(agents, step, 'before', () => world.creator.cancel(ANN.requestId));
      const results = await resultsOf(world.creator.create(SITE, ANN, never));
      checkSites(t, world, agents, results.filter(({ code }) => code === undefined).length);
    }
  });
});

/** As {@link checkWhole}, of VMs of two NICs. */
function checkSites(t: Test, world: FleetWorld, agents: readonly FakeAgent[], want: number): void {
  const made = agents.flatMap((agent) => [...agent.vms.values()]).filter(({ name }) => name !== 'domU');
  t.equal(made.length, want);
  const live = world.allLeases().filter(({ state }) => state === 'bound' || state === 'pending');
  t.strictSame(
    live.map(({ state, address }) => `${state} ${formatIpv4(address)}`).sort(),
    made.flatMap(({ vifs }) => vifs.map(({ guestAddress }) => `bound ${formatIpv4(guestAddress!)}`)).sort(),
  );
  t.strictSame(
    world.database.read((stores) => stores.jobs.listLive('create')),
    [],
  );
}

t.test('killed after the VMs were bound, before that was told: nothing is written into them again', async (t) => {
  const { world, agents } = await FleetWorld.ofImage(1);
  const made = collect(world.creator.create({ ...FOUR, count: 1 }, ANN, never));
  await made;
  const [job] = world.database.read((stores) => stores.jobs.listByRequest(ANN.requestId));
  t.match(job, { state: 'done', name: 'web-1' });
  // What the disk had one commit before.
  const order = agents[0]!.ran.find(({ action }) => action.kind === 'copy')!;
  world.database.write((tx) => {
    tx.jobs.remove(job!.id);
    const data = JSON.stringify({
      ...{ name: 'web-1', hostId: job!.hostId, vmKey: job!.vmKey, order: order.action, actor: ANN.actor },
      ...{ source: 'domU@dom0-1', what: 'a copy', memoryMib: 512, vcpus: 1, reservation: 'job-1' },
      ...{ labels: {}, isStarted: false },
    });
    tx.jobs.insert({ ...job!, orderId: order.orderId, data });
  });
  await agents[0]!.set('/etc/xen/web-1.cfg', { state: 'running' });
  const next = world.restart();
  next.creator.resume();
  await connectAll(agents);
  checkWhole(t, next, agents, 1);
  t.equal(ran(agents, 'configure'), 1, 'it runs: it is not to be touched');
});

t.test('a repeated request', async (t) => {
  const { world, agents } = await FleetWorld.ofImage(2);
  await t.test('answers as before, and makes nothing', async (t) => {
    await collect(world.creator.create(FOUR, ANN, never));
    const again = await collect(world.creator.create(FOUR, ANN, never));
    t.match(again[0], { kind: 'plan', steps: [{ vm: 'web-1', action: 'continue', detail: 'it is made' }] });
    t.equal(again.filter((each) => each.kind === 'result' && each.code === undefined).length, 4);
    checkWhole(t, world, agents, 4);
    t.equal(ran(agents, 'copy'), 4);
  });
  await t.test('is refused when it is another one', async (t) => {
    const other = { ...ANN, fingerprint: 'five' };
    await t.rejects(collect(world.creator.create({ ...FOUR, count: 5 }, other, never)), {
      code: 'invalid',
      message: /used before, for another request/,
    });
  });
  await t.test('tries again what was undone, with a fresh order', async (t) => {
    const bob = { ...ADMIN, requestId: 'request-of-bob', fingerprint: 'db' };
    const request: CreateRequest = { ...FOUR, name: 'db', count: 2 };
    agents[0]!.behave = (order, agent) =>
      order.action.kind === 'configure'
        ? { kind: 'failed', code: 'internal', message: 'no', details: {}, vm: agent.vms.get(order.vmKey) }
        : obey(order, agent);
    const first = await resultsOf(world.creator.create(request, bob, never));
    t.equal(first.filter(({ code }) => code).length, 1);
    t.match(world.allEvents('vm.create-undone'), [{ message: /^VM db-\d@dom0-1 was not made: .*taken away again$/ }]);
    checkWhole(t, world, agents, 5);
    agents[0]!.behave = obey;
    const second = await resultsOf(world.creator.create(request, bob, never));
    t.strictSame(
      second.map(({ code }) => code),
      [undefined, undefined],
    );
    checkWhole(t, world, agents, 6);
    t.equal(world.allEvents('vm.created').length, 6);
  });
});

t.test('names and memory that are asked for are refused to others', async (t) => {
  const { world, agents } = await FleetWorld.ofImage(1);
  agents[0]!.behave = () => 'silent';
  void collect(world.creator.create({ ...FOUR, shape: { memoryMib: 1500 } }, ANN, never));
  await settle();
  await t.rejects(collect(world.creator.create({ ...FOUR, count: 5 }, ADMIN, never)), {
    code: 'already_exists',
    message: 'a VM web-1 is being made on dom0-1',
    details: { hint: /--request-id request-of-ann/ },
  });
  // 8192 MiB free, 4 x 1500 and what a domain takes besides are asked for.
  await t.rejects(collect(world.creator.create({ ...FOUR, name: 'db', shape: { memoryMib: 1024 } }, ADMIN, never)), {
    code: 'exhausted',
    details: { fits: '2' },
  });
});

t.test('cancelled: what is whole stays, the rest is undone, and told of', async (t) => {
  for (let step = 1; step <= 8; step++) {
    const { world, agents } = await FleetWorld.ofImage(2);
    atOrder(agents, step, 'before', () => world.creator.cancel(ANN.requestId));
    const results = await resultsOf(world.creator.create(FOUR, ANN, never));
    t.equal(results.length, 4, 'each has a result');
    checkWhole(t, world, agents, results.filter(({ code }) => code === undefined).length);
    t.equal(world.creator.cancel(ANN.requestId), 0, 'there is nothing to be cancelled any more');
    for (const agent of agents) agent.behave = obey;
    await collect(world.creator.create(FOUR, ANN, never));
    checkWhole(t, world, agents, 4);
  }
});

t.test('a host that is away: its VMs are gone on with when it is back', async (t) => {
  const { world, agents } = await FleetWorld.ofImage(2);
  atOrder(agents, 3, 'before', () => world.die());
  collect(world.creator.create(FOUR, ANN, never)).catch(() => []);
  await settle(60);
  const next = world.restart();
  next.creator.resume();
  await agents[0]!.connect();
  await settle(60);
  const steps: VmProgress[] = [];
  const results = (async () => {
    for await (const each of next.creator.create(FOUR, ANN, never)) steps.push(each);
  })();
  await settle();
  t.equal(steps.filter((each) => each.kind === 'result').length, 2);
  t.ok(steps.some((each) => each.kind === 'step' && each.message === 'waits for host dom0-2'));
  await t.test('cancelled meanwhile: it is told at once, and undone when the host is back', async (t) => {
    next.creator.cancel(ANN.requestId);
    await results;
    const failed = steps.filter((each) => each.kind === 'result' && each.code === 'unavailable');
    t.equal(failed.length, 2);
    t.match(failed[0], { message: /taken away when dom0-2 is back$/ });
    await agents[1]!.connect();
    await settle(60);
    checkWhole(t, next, agents, 2);
  });
});

t.test('a host that is taken out of the fleet takes its jobs along', async (t) => {
  const { world, agents } = await FleetWorld.ofImage(2);
  agents[1]!.behave = () => 'silent';
  const results = resultsOf(world.creator.create(FOUR, ANN, never));
  await settle(60);
  world.database.write((tx) => {
    for (const vm of world.fleet.vms.onHost(agents[1]!.options.hostId)) t.equal(vm.name, 'domU');
    world.fleet.forgetHostIn(tx, tx.hosts.findById(agents[1]!.options.hostId)!);
  });
  t.strictSame(
    (await results).filter(({ code }) => code).map(({ code }) => code),
    ['not_found', 'not_found'],
  );
  t.strictSame(
    world.database.read((stores) => stores.jobs.listLive('create')),
    [],
  );
});

t.test('a delete that was cut short is gone on with, and the addresses are released', async (t) => {
  for (const when of ['before', 'after'] as const) {
    const { world, agents } = await FleetWorld.ofImage(1);
    await collect(world.creator.create({ ...FOUR, count: 2 }, ANN, never));
    atOrder(agents, 1, when, () => world.die());
    const selector = { names: ['web-1'], all: false };
    collect(world.deleter.delete({ selector, isDryRun: false }, ADMIN, never)).catch(() => []);
    await settle(60);
    const next = world.restart();
    next.deleter.resume();
    await settle();
    const away = { selector: { names: ['web-1@dom0-1'], all: false }, isDryRun: false };
    t.match(await resultsOf(next.deleter.delete(away, ADMIN, never)), [{ code: 'unavailable' }], 'its host is away');
    await connectAll(agents);
    checkWhole(t, next, agents, 1);
    t.equal(next.allEvents('vm.deleted').length, 1);
    t.strictSame(
      next.database.read((stores) => stores.jobs.listLive('delete')),
      [],
    );
    await collect(next.creator.create({ ...FOUR, name: 'web-1', count: undefined }, ADMIN, never));
    checkWhole(t, next, agents, 2);
  }
});

t.test('a delete that its host does not answer goes on when it does', async (t) => {
  const { world, agents } = await FleetWorld.ofImage(1);
  await collect(world.creator.create({ ...FOUR, count: 1 }, ANN, never));
  agents[0]!.behave = () => 'silent';
  const selector = { names: ['web-1'], all: false };
  const results = resultsOf(world.deleter.delete({ selector, isDryRun: false }, ADMIN, never));
  await settle();
  agents[0]!.kill();
  await world.timers.advance(400_000);
  t.match(await results, [{ code: 'timeout' }]);
  agents[0]!.behave = obey;
  await connectAll(agents);
  checkWhole(t, world, agents, 0);
});
