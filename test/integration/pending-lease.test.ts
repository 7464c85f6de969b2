import { pino } from 'pino';
import t from 'tap';
import { HostRemover } from '../../controller/services/host-remover.js';
import { LeaseSweeper } from '../../controller/services/lease-sweeper.js';
import { VmHoldings } from '../../controller/services/vm-holdings.js';
import { ADMIN, FleetWorld, resultsOf } from '../fakes/fleet-world.js';
import { settle } from '../fakes/manual-timer.js';

// A request dies, or its host does: what it left must go, but never under an order that may still write it.

const never = new AbortController().signal;
const addressing = { selector: { names: [], all: true }, reservation: undefined, address: undefined, isDryRun: false };
const BUSY = { vmKey: 'other', timeoutMs: 3_600_000, action: { kind: 'start' } } as const;
const SECOND = 1_000;

function sweep(world: FleetWorld): Promise<unknown> {
  const { journal, pools, leases, clock, fleet } = world;
  const log = pino({ level: 'silent' });
  return new LeaseSweeper({ journal, pools, leases, clock, knowledge: fleet, log }).sweep(clock.nowMs());
}

async function silentWorld() {
  const { world, agents } = await FleetWorld.ofImage(1);
  const [agent] = agents;
  if (!agent) throw new Error('no agent');
  agent.behave = () => 'silent';
  return { world, agent };
}

const states = (world: FleetWorld) => world.allLeases().map(({ state }) => state);

await t.test('a lease whose request died with the controller is freed after its time, not before', async (t) => {
  const { world } = await silentWorld();
  void resultsOf(world.addresser.address(addressing, ADMIN, never));
  await settle();
  const second = new FleetWorld(world);
  await second.timers.advance(1_190 * SECOND);
  await sweep(second);
  t.same(states(second), ['pending'], 'the host may still be at it');
  await second.timers.advance(11 * SECOND);
  await sweep(second);
  t.same(states(second), []);
  t.match(second.allEvents('lease.freed'), [{ message: /nobody bound it in time/ }]);
});

await t.test('an order whose turn does not come in time is not sent, and its lease given back', async (t) => {
  const { world, agent } = await silentWorld();
  const busy = new AbortController();
  for (let n = 0; n < 64; n++) void world.orders.run(1, BUSY, { signal: busy.signal });
  const results = resultsOf(world.addresser.address(addressing, ADMIN, never));
  await settle();
  await world.timers.advance(299 * SECOND);
  t.same(states(world), ['pending']);
  await world.timers.advance(SECOND);
  t.match(await results, [{ code: 'unavailable', message: /busy with other orders for 300 s/ }]);
  t.same(states(world), []);
  busy.abort();
  await world.timers.advance(11 * SECOND);
  t.notOk(agent.received.some(({ action }) => action.kind === 'configure'));
});

await t.test('a turn that came in time, a link that broke: pending until the agent must have given up', async (t) => {
  const { world, agent } = await silentWorld();
  const busy = new AbortController();
  for (let n = 0; n < 64; n++) void world.orders.run(1, BUSY, { signal: busy.signal });
  const results = resultsOf(world.addresser.address(addressing, ADMIN, never));
  await settle();
  await world.timers.advance(285 * SECOND);
  busy.abort();
  await world.timers.advance(11 * SECOND);
  const sent = () => agent.received.filter(({ action }) => action.kind === 'configure');
  t.equal(sent().length, 1);
  agent.kill();
  await world.timers.advance(305 * SECOND);
  await agent.connect();
  t.equal(sent().length, 2, 'the same order again');
  await world.timers.advance(10 * SECOND);
  t.match(await results, [{ code: 'timeout' }]);
  // From its receipt the agent has 300 s, and then it undoes.
  await world.timers.advance(300 * SECOND);
  await sweep(world);
  t.same(states(world), ['pending']);
  await world.timers.advance(300 * SECOND);
  await sweep(world);
  t.same(states(world), []);
});

await t.test('a host goes without force though a lease of it is pending, not with one that is bound', async (t) => {
  const { world, agent } = await silentWorld();
  const remover = ({ journal, events, fleet, clock, leases, macs }: FleetWorld) => {
    const calls = { cut: () => undefined };
    return new HostRemover({ journal, events, fleet, clock, calls, holdings: new VmHoldings({ leases, macs }) });
  };
  void resultsOf(world.addresser.address(addressing, ADMIN, never));
  await settle();
  agent.kill();
  await settle();
  t.notOk(world.fleet.isKnownStopped(world.vm('domU').id));
  t.same(states(world), ['pending']);
  t.match(remover(world).preview('dom0-1', false), { vms: ['domU@dom0-1'], runningVms: [] });
  const { world: other, agents } = await FleetWorld.ofImage(1);
  await resultsOf(other.addresser.address(addressing, ADMIN, never));
  agents[0]?.kill();
  await settle();
  t.same(states(other), ['bound']);
  t.throws(() => remover(other).preview('dom0-1', false), { code: 'wrong_state', details: { vms: 'domU@dom0-1' } });
});
