import t from 'tap';
import { parseMac } from '../../shared/domain/mac.js';
import type { VifLease } from '../../controller/ports/agent-link.js';
import { LeaseNews } from '../../controller/services/lease-news.js';
import { ReservationService } from '../../controller/services/reservation-service.js';
import { IMAGE_MAC, imageVm } from '../fakes/fake-agent.js';
import { ADMIN, FleetWorld, resultsOf } from '../fakes/fleet-world.js';
import { settle } from '../fakes/manual-timer.js';

const never = new AbortController().signal;
const ALL = { names: [], all: true };
const named = (...names: string[]) => ({ names, all: false });
const addressing = { reservation: undefined, address: undefined, isDryRun: false };
const starting = { force: false, isDryRun: false };

await t.test('sessions', async (t) => {
  await t.test('a host is what its last word makes it', async (t) => {
    const { world, agents } = await FleetWorld.ofImage(1);
    const state = () => world.fleet.host('dom0-1').state;
    t.equal(state(), 'online');
    t.same(world.fleet.host('dom0-1').vms, 1);
    agents[0]!.kill();
    t.equal(state(), 'online', 'a link that just broke is no loss');
    t.equal(world.fleet.isReachable(1), false);
    await world.timers.advance(30_000);
    t.equal(state(), 'awaited', 'nobody is lost while the controller is young');
    await world.timers.advance(270_000);
    await world.fleet.sweep();
    await world.fleet.sweep();
    t.equal(state(), 'lost');
    t.equal(world.allEvents('host.lost').length, 1, 'told once');
    await agents[0]!.connect();
    t.equal(state(), 'online');
  });

  await t.test('a loss is told once, though the controller starts anew', async (t) => {
    const { world, agents } = await FleetWorld.ofImage(1);
    agents[0]!.kill();
    await world.timers.advance(300_000);
    await world.fleet.sweep();
    const second = new FleetWorld(world);
    t.equal(second.fleet.host('dom0-1').state, 'awaited');
    await second.timers.advance(300_000);
    await second.fleet.sweep();
    t.equal(second.fleet.host('dom0-1').state, 'lost');
    t.equal(second.allEvents('host.lost').length, 1);
    t.equal(second.vm('domU@dom0-1').state, 'stopped', 'what was known is still known');
    t.equal(second.fleet.isKnownStopped(1), false, 'but silence is not stopped');
  });

  await t.test('a silent session is ended', async (t) => {
    const { world, agents } = await FleetWorld.ofImage(2);
    await world.timers.advance(20_000);
    agents[1]!.session?.heartbeat({ memoryFreeMib: 77, metrics: new Map() });
    await world.timers.advance(10_000);
    await world.fleet.sweep();
    t.equal(agents[0]!.endedWith?.code, 'unavailable');
    t.equal(agents[1]!.endedWith, undefined);
    t.equal(world.fleet.host('dom0-2').host.facts?.memoryFreeMib, 77);
  });

  await t.test('a second session ends the first, which can write no more', async (t) => {
    const { world, agents } = await FleetWorld.ofImage(1);
    const first = agents[0]!.session!;
    const twin = world.agent(1, 'deployment-dom0-1', [imageVm({ state: 'running' })]);
    twin.sessionCounter = agents[0]!.sessionCounter;
    await twin.connect();
    t.equal(agents[0]!.endedWith?.code, 'raced');
    await first.fullState([]);
    first.closed();
    t.equal(world.vm('domU').state, 'running');
    t.equal(world.fleet.isReachable(1), true);
  });

  const refusals = [
    { name: 'a deployment that the host did not join with', change: { deploymentId: 'other' }, code: 'wrong_state' },
    { name: 'a counter that went back', change: { sessionCounter: 1 }, code: 'wrong_state' },
    { name: 'another major', change: { protocol: { major: 2, minor: 0 } }, code: 'wrong_state' },
  ];
  for (const { name, change, code } of refusals) {
    await t.test(`${name} is refused, and told once`, async (t) => {
      const { world, agents } = await FleetWorld.ofImage(1);
      agents[0]!.kill();
      await t.rejects(agents[0]!.connect(change), { code });
      await t.rejects(agents[0]!.connect(change), { code });
      t.equal(world.allEvents('host.refused').length, 1);
      t.equal(world.fleet.isReachable(1), false);
    });
  }

  await t.test('a revoked host is cut, its orders end, and it is refused', async (t) => {
    const { world, agents } = await FleetWorld.ofImage(1);
    agents[0]!.behave = () => 'silent';
    const results = resultsOf(world.starter.start({ ...starting, selector: ALL }, ADMIN, never));
    await settle();
    world.database.write((tx) => {
      const host = tx.hosts.findById(1)!;
      tx.hosts.update({ ...host, revokedAtMs: world.clock.nowMs() });
    });
    world.fleet.cutHost(1, 'host dom0-1 was revoked');
    t.equal(agents[0]!.endedWith?.code, 'unauthenticated');
    t.equal((await results)[0]?.code, 'unavailable');
    t.equal(world.fleet.host('dom0-1').state, 'revoked');
    await t.rejects(agents[0]!.connect(), { code: 'unauthenticated' });
    await world.timers.advance(600_000);
    await world.fleet.sweep();
    t.equal(world.allEvents('host.lost').length, 0);
  });

  await t.test('a clock that is off is told', async (t) => {
    const world = new FleetWorld();
    const agent = world.host('dom0-1', []);
    await agent.connect({ nowMs: world.clock.nowMs() - 61_000 });
    t.match(world.allEvents('host.clock-off')[0]?.details, { offsetMs: '-61000' });
    await agent.connect({ nowMs: world.clock.nowMs() + 60_000 });
    t.equal(world.allEvents('host.clock-off').length, 1);
  });
});

await t.test('a host is told what its vifs have leased, whenever that changes', async (t) => {
  const { world, agents } = await FleetWorld.ofImage(2);
  const news = new LeaseNews(world);
  const [agent, other] = [agents[0]!, agents[1]!];
  const told = (): readonly VifLease[] | undefined => agent.leases.at(-1);
  news.tell();
  t.strictSame(agent.leases, [[]], 'that there are none is told too: it may remember some');
  const results = await resultsOf(
    world.addresser.address({ ...addressing, selector: named('domU@dom0-1') }, ADMIN, never),
  );
  t.equal(results[0]?.code, undefined);
  news.tell();
  const [lease] = world.allLeases();
  const { endsAtMs } = world.pools.list()[0]!.reservation;
  const { cfgPath } = world.vm('domU@dom0-1');
  t.match(told(), [{ cfgPath, vifIndex: 0, address: lease?.address, mac: lease?.mac, endsAtMs }]);
  t.strictSame(other.leases, [[]], 'nobody else hears of it');

  const count = agent.leases.length;
  news.tell();
  await world.leases.acquire([{ owner: { kind: 'name', name: 'gateway' } }], undefined, undefined, ADMIN);
  news.tell();
  t.equal(agent.leases.length, count, 'what is no news is not told');
  await agent.connect();
  news.tell();
  t.equal(agent.leases.length, count + 1, 'a new session is told anew');

  const leases = new ReservationService(world);
  await leases.extend('job-1', endsAtMs + 60_000, ADMIN);
  news.tell();
  t.equal(told()?.[0]?.endsAtMs, endsAtMs + 60_000, 'an extension');
  await world.timers.advance(1_000);
  await world.leases.release([lease!.address], true, ADMIN);
  news.tell();
  t.equal(told()?.[0]?.endsAtMs, world.clock.nowMs(), 'one that was taken back has ended');

  await resultsOf(world.addresser.address({ ...addressing, selector: named('domU@*') }, ADMIN, never));
  news.tell();
  t.equal(told()?.[0]?.endsAtMs, endsAtMs + 60_000, 'a change on two hosts is told to each');
  const othersLease = world.allLeases().find(({ address }) => address === other.leases.at(-1)?.[0]?.address);
  t.match(othersLease?.owner, { kind: 'vif', vmId: world.vm('domU@dom0-2').id });
  await world.timers.advance(1_000);
  await world.leases.release([othersLease!.address], true, ADMIN);
  news.tell();
  t.equal(other.leases.at(-1)?.[0]?.endsAtMs, world.clock.nowMs());
  t.equal(told()?.[0]?.endsAtMs, endsAtMs + 60_000);
});

await t.test('observations', async (t) => {
  await t.test('reconnecting with what is known writes no VM', async (t) => {
    const { world, agents } = await FleetWorld.ofImage(1, [imageVm(), imageVm({ key: 'b', name: 'b' })]);
    const before = world.database.read((stores) => stores.vms.list());
    const events = world.allEvents('vm.').length;
    world.clock.advance(5_000);
    agents[0]!.kill();
    await agents[0]!.connect();
    t.same(
      world.database.read((stores) => stores.vms.list()),
      before,
    );
    t.equal(world.allEvents('vm.').length, events);
    t.equal(world.query.get('b').observedAtMs, world.clock.nowMs(), 'though it was told just now');
  });

  await t.test('what a VM does is history', async (t) => {
    const { world, agents } = await FleetWorld.ofImage(1);
    await agents[0]!.set('/etc/xen/domU.cfg', { state: 'running' });
    await agents[0]!.session!.change([], ['/etc/xen/domU.cfg', 'never-known']);
    t.same(
      world.allEvents('vm.').map(({ kind }) => kind),
      ['vm.appeared', 'vm.state-changed', 'vm.gone'],
    );
    t.match(world.allEvents('vm.state-changed')[0]?.details, { from: 'stopped', to: 'running' });
    t.throws(() => world.query.get('domU'), { code: 'not_found' }, 'nothing names it any more');
  });

  await t.test('a VM that a lease names stays known when it is gone, under the same id', async (t) => {
    const { world, agents } = await FleetWorld.ofImage(1);
    const { id } = world.vm('domU');
    await world.leases.acquire([{ owner: { kind: 'vif', vmId: id, vifIndex: 0 } }], undefined, undefined, ADMIN);
    await agents[0]!.session!.fullState([]);
    t.equal(world.vm(String(id)).isGone, true);
    t.equal(world.fleet.isKnownStopped(id), true);
    t.equal(
      (await resultsOf(world.addresser.address({ ...addressing, selector: named('domU') }, ADMIN, never)))[0]?.code,
      'not_found',
    );
    await agents[0]!.session!.fullState([imageVm()]);
    t.match(world.vm('domU'), { id, isGone: false });
    await agents[0]!.session!.fullState([]);
    await world.leases.release([world.allLeases()[0]!.address], false, ADMIN);
    await world.timers.advance(3_600_000);
    world.database.write((tx) => world.allLeases().forEach((lease) => tx.leases.remove(lease.id)));
    await world.fleet.sweep();
    t.equal(world.fleet.vms.byId(id), undefined);
  });

  await t.test('the index is as the database when a transaction fails', async (t) => {
    const { world, agents } = await FleetWorld.ofImage(1);
    const write = world.database.write.bind(world.database);
    world.database.write = (work) =>
      write((tx) => {
        work(tx);
        throw new Error('disk full');
      });
    await t.rejects(agents[0]!.set('/etc/xen/domU.cfg', { state: 'running' }));
    await t.rejects(agents[0]!.session!.change([imageVm({ key: 'new', name: 'new' })], ['/etc/xen/domU.cfg']));
    t.equal(world.vm('domU').state, 'stopped');
    t.equal(world.fleet.vms.byName('new').length, 0);
  });

  await t.test('the knowledge of MACs and owners', async (t) => {
    const { world } = await FleetWorld.ofImage(2);
    const owner = { kind: 'vif', vmId: 1, vifIndex: 0 } as const;
    t.equal(world.fleet.describeOwner(owner), 'domU@dom0-1#0');
    t.equal(world.fleet.describeOwner({ kind: 'name', name: 'printer' }), 'printer');
    t.equal(world.fleet.isMacObservedElsewhere(IMAGE_MAC, owner), true);
    t.equal(world.fleet.isMacObservedElsewhere(parseMac('00:16:3e:00:00:01'), owner), false);
    t.equal(world.fleet.isKnownStopped(1), true);
  });

  await t.test('a host tells of itself', async (t) => {
    const { world, agents } = await FleetWorld.ofImage(1);
    const report = { kind: 'boot.held', message: 'domU is held back', vmKey: '/etc/xen/domU.cfg', details: {} };
    await agents[0]!.session!.event(report);
    t.match(world.allEvents('boot.')[0], { actor: 'agent:dom0-1', host: 'dom0-1', vmId: 1 });
  });
});

await t.test('list', async (t) => {
  const { world, agents } = await FleetWorld.ofImage(70);
  await resultsOf(world.addresser.address({ ...addressing, selector: ALL }, ADMIN, never));
  const counters = { cpuSeconds: 1, memoryMib: 256, rxBytes: 2n, txBytes: 3n, diskReadBytes: 4n, diskWrittenBytes: 5n };
  const metrics = new Map([['/etc/xen/domU.cfg', { ...counters, sampledAtMs: 9 }]]);
  await agents[0]!.set('/etc/xen/domU.cfg', { state: 'running' });
  agents[0]!.session!.heartbeat({ memoryFreeMib: 1, metrics });
  agents[1]!.kill();
  const views = world.query.list(undefined);
  t.equal(views.length, 70);
  t.ok(views.every(({ leases }) => leases.get(0)?.reservation === 'job-1'));
  t.match(world.query.get('domU@dom0-1'), { isStale: false, metrics: counters });
  t.match(world.query.get('domU@dom0-2'), { isStale: true, metrics: undefined });
  await agents[0]!.set('/etc/xen/domU.cfg', { state: 'stopped' });
  t.equal(world.query.get('domU@dom0-1').metrics, undefined, 'what is stopped uses nothing');
  t.throws(() => world.query.get('domU'), { code: 'invalid' });
});

await t.test('stop and wait', async (t) => {
  await t.test('shutdown and destroy do nothing to what is stopped', async (t) => {
    const { world, agents } = await FleetWorld.ofImage(2);
    await agents[0]!.set('/etc/xen/domU.cfg', { state: 'running' });
    const each = { selector: ALL, isDryRun: false };
    const action = { kind: 'shutdown', timeoutSeconds: 60, isDestroyedAfter: true } as const;
    const shutdown = world.service.tell(action, each, ADMIN, never);
    t.same((await resultsOf(shutdown)).map(({ message }) => message).sort(), ['already stopped', 'shut down']);
    t.same(agents[0]!.ran[0]?.action, action);
    await agents[1]!.set('/etc/xen/domU.cfg', { state: 'crashed' });
    const destroy = await resultsOf(
      world.service.tell({ kind: 'destroy' }, { selector: ALL, isDryRun: false }, ADMIN, never),
    );
    t.same(
      destroy.map(({ code }) => code),
      [undefined, undefined],
    );
    t.equal(agents[1]!.ran.length, 1);
    t.match(world.allEvents('vm.destroyed'), [{ vmId: 2, actor: 'admin:ann' }]);
  });

  await t.test('reboot, pause and unpause ask for a VM that is not stopped', async (t) => {
    const { world, agents } = await FleetWorld.ofImage(2);
    await agents[0]!.set('/etc/xen/domU.cfg', { state: 'running' });
    const each = { selector: ALL, isDryRun: false };
    const codes = async (stream: Parameters<typeof resultsOf>[0]) =>
      (await resultsOf(stream)).map(({ code, message }) => code ?? message).sort();
    t.same(await codes(world.service.tell({ kind: 'reboot', timeoutSeconds: 5 }, each, ADMIN, never)), [
      'rebooted',
      'wrong_state',
    ]);
    t.same(await codes(world.service.tell({ kind: 'unpause' }, each, ADMIN, never)), [
      'already running',
      'wrong_state',
    ]);
    t.same(await codes(world.service.tell({ kind: 'pause' }, each, ADMIN, never)), ['paused', 'wrong_state']);
    t.match(
      agents[0]!.ran.map(({ action }) => action),
      [{ kind: 'reboot', timeoutSeconds: 5 }, { kind: 'pause' }],
    );
    t.equal(agents[1]!.ran.length, 0);
    t.match(world.allEvents('vm.rebooted'), [{ actor: 'admin:ann' }]);
  });

  await t.test('a client that leaves cancels', async (t) => {
    const { world, agents } = await FleetWorld.ofImage(1);
    await agents[0]!.set('/etc/xen/domU.cfg', { state: 'running' });
    agents[0]!.behave = () => 'silent';
    const stream = world.service.tell({ kind: 'destroy' }, { selector: ALL, isDryRun: false }, ADMIN, never);
    const first = await stream.next();
    t.equal(first.done !== true && first.value.kind, 'plan');
    void stream.next();
    await settle();
    void stream.return(undefined);
    await settle();
    const cancel = new AbortController();
    const results = resultsOf(
      world.service.tell({ kind: 'destroy' }, { selector: ALL, isDryRun: false }, ADMIN, cancel.signal),
    );
    await settle();
    cancel.abort();
    await settle();
    t.ok(agents[0]!.cancelled.length > 0);
    await world.timers.advance(10_000);
    t.equal((await results)[0]?.code, 'unavailable');
    await world.timers.advance(130_000);
    t.equal(world.timers.count, 0);
  });

  await t.test('a client whose controller ends does not', async (t) => {
    const { world, agents } = await FleetWorld.ofImage(1);
    await agents[0]!.set('/etc/xen/domU.cfg', { state: 'running' });
    agents[0]!.behave = () => 'silent';
    const cancel = new AbortController();
    const request = { selector: ALL, isDryRun: false };
    const results = resultsOf(world.service.tell({ kind: 'destroy' }, request, ADMIN, cancel.signal));
    await settle();
    world.orders.leave();
    cancel.abort();
    await settle();
    t.equal(agents[0]!.ran.length, 1);
    t.strictSame(agents[0]!.cancelled, []);
    await world.timers.advance(130_000);
    t.equal((await results)[0]?.code, 'timeout');
  });

  await t.test('wait is told when it is so, and of those that are late', async (t) => {
    const { world, agents } = await FleetWorld.ofImage(3);
    const stream = world.service.wait({ selector: ALL, condition: 'running', timeoutMs: 60_000 }, never);
    const results = resultsOf(stream);
    await settle();
    await agents[0]!.set('/etc/xen/domU.cfg', { state: 'running' });
    agents[1]!.kill();
    agents[1]!.change('/etc/xen/domU.cfg', { state: 'running' });
    await world.timers.advance(1_000);
    await agents[1]!.connect();
    await world.timers.advance(59_000);
    t.same(Object.fromEntries((await results).map(({ host, code }) => [host, code])), {
      'dom0-1': undefined,
      'dom0-2': undefined,
      'dom0-3': 'timeout',
    });
    t.equal(world.timers.count, 0);
  });
});
