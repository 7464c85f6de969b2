import t from 'tap';
import { formatIpv4, parseIpv4 } from '../../shared/domain/ipv4.js';
import { formatMac, parseMac } from '../../shared/domain/mac.js';
import type { OrderOutcome } from '../../controller/ports/agent-link.js';
import { IMAGE_MAC, imageVm, obey } from '../fakes/fake-agent.js';
import { ADMIN, collect, FleetWorld, reservationData, resultsOf } from '../fakes/fleet-world.js';
import { settle } from '../fakes/manual-timer.js';

const never = new AbortController().signal;
const ALL = { names: [], all: true };
const named = (...names: string[]) => ({ names, all: false });
const addressing = { reservation: undefined, address: undefined, isDryRun: false };
const starting = { force: false, isDryRun: false };

const inUse = (address: string): OrderOutcome => ({
  kind: 'failed',
  code: 'already_exists',
  message: `${address} is in use`,
  details: { address, seenMac: '02:00:00:00:00:01' },
  vm: undefined,
});

await t.test('address', async (t) => {
  await t.test('copies of one image get addresses and MACs of their own', async (t) => {
    const { world, agents } = await FleetWorld.ofImage(40);
    t.equal(world.conflicts.list()[0]?.parties.length, 40);
    const all = await collect(world.addresser.address({ ...addressing, selector: ALL }, ADMIN, never));
    t.equal(all[0]?.kind, 'plan');
    const results = all.filter((each) => each.kind === 'result');
    t.same(
      results.filter(({ code }) => code),
      [],
    );
    t.equal(results.length, 40);
    const leases = world.allLeases();
    t.equal(new Set(leases.map(({ address }) => address)).size, 40);
    t.equal(new Set(leases.map(({ mac }) => mac)).size, 40);
    t.ok(leases.every(({ state }) => state === 'bound'));
    for (const agent of agents) {
      const [vif] = agent.vms.get('/etc/xen/domU.cfg')!.vifs;
      const lease = leases.find(({ address }) => address === vif?.guestAddress);
      t.equal(vif?.mac, lease?.mac);
    }
    t.same(world.conflicts.list(), []);
    t.equal(world.allEvents('vm.addressed').length, 40);
    t.match(world.allEvents('vm.addressed')[0], { actor: 'admin:ann', reservation: 'job-1', vmId: 1 });
  });

  await t.test('the same VM again gets the same, and the order has all that the host needs', async (t) => {
    const { world, agents } = await FleetWorld.ofImage(1, [
      imageVm({ vifs: [0, 1].map((index) => ({ ...imageVm().vifs[0]!, index })) }),
    ]);
    await resultsOf(world.addresser.address({ ...addressing, selector: named('domU') }, ADMIN, never));
    const before = world.allLeases();
    const warnings = ['root has an empty password'];
    agents[0]!.behave = (order, agent) => ({ ...(obey(order, agent) as OrderOutcome & { kind: 'done' }), warnings });
    const results = await resultsOf(world.addresser.address({ ...addressing, selector: named('domU') }, ADMIN, never));
    t.same(world.allLeases(), before);
    t.same(results[0]?.warnings, warnings);
    t.equal(results[0]?.state?.leases.get(1)?.reservation, 'job-1');
    const action = agents[0]!.ran[0]!.action;
    t.match(action, { kind: 'configure', hostname: 'domU' });
    t.same(action.kind === 'configure' && action.vifs.map(({ hasDefaultRoute }) => hasDefaultRoute), [true, false]);
    t.ok(
      action.kind === 'configure' &&
        action.vifs.every(({ leaseEndsAtMs }) => (leaseEndsAtMs ?? 0) > world.clock.nowMs()),
    );
  });

  await t.test('a dry run tells the plan and does nothing', async (t) => {
    const { world, agents } = await FleetWorld.ofImage(2);
    const vm = imageVm({ state: 'running' });
    await agents[1]!.set(vm.key, vm);
    const all = await collect(world.addresser.address({ ...addressing, selector: ALL, isDryRun: true }, ADMIN, never));
    const plan = all[0]!;
    t.match(all.slice(1), [
      { kind: 'result', host: 'dom0-1', code: undefined },
      { kind: 'result', host: 'dom0-2', code: 'wrong_state' },
    ]);
    t.equal(all.length, 3);
    t.same(plan.kind === 'plan' && plan.steps.map(({ host, action }) => `${host} ${action}`), [
      'dom0-1 take lease',
      'dom0-1 write cfg',
      'dom0-1 write guest',
      'dom0-1 bind lease',
    ]);
    t.equal(plan.kind === 'plan' && plan.warnings.length, 1);
    t.same(world.allLeases(), []);
    t.same(agents[0]!.received, []);
  });

  await t.test('each VM has its own refusal', async (t) => {
    const world = new FleetWorld();
    const agent = world.host('dom0-1', [
      imageVm({ key: 'a', name: 'running', state: 'running' }),
      imageVm({ key: 'b', name: 'unknown', state: 'unknown' }),
      imageVm({ key: 'c', name: 'broken', problem: 'likely python' }),
      imageVm({ key: 'd', name: 'bare', vifs: [] }),
      imageVm({ key: 'e', name: 'good' }),
      imageVm({ key: 'domain:1', name: 'loose', cfgPath: undefined }),
    ]);
    await agent.connect();
    const away = await world.host('dom0-2', [imageVm({ name: 'away' })]).connect();
    away.kill();
    const results = await resultsOf(world.addresser.address({ ...addressing, selector: ALL }, ADMIN, never));
    t.same(Object.fromEntries(results.map(({ vm, code }) => [vm, code])), {
      running: 'wrong_state',
      unknown: 'wrong_state',
      broken: 'wrong_state',
      bare: 'wrong_state',
      loose: 'wrong_state',
      away: 'unavailable',
      good: undefined,
    });
    t.equal(world.allLeases().length, 1);
  });

  await t.test('an address that the wire says is in use is declined, and another one taken', async (t) => {
    const { world, agents } = await FleetWorld.ofImage(1);
    agents[0]!.behave = (order, agent) => {
      if (order.action.kind !== 'configure') return 'silent';
      const address = formatIpv4(order.action.vifs[0]!.address);
      return agent.ran.length < 4 ? inUse(address) : obey(order, agent);
    };
    const results = await resultsOf(world.addresser.address({ ...addressing, selector: ALL }, ADMIN, never));
    t.equal(results[0]?.code, undefined);
    t.same(
      world.allLeases().map(({ state }) => state),
      ['declined', 'declined', 'declined', 'bound'],
    );
  });

  await t.test('after four tries it gives up', async (t) => {
    const { world, agents } = await FleetWorld.ofImage(1);
    agents[0]!.behave = ({ action }) =>
      action.kind === 'configure' ? inUse(formatIpv4(action.vifs[0]!.address)) : 'silent';
    const results = await resultsOf(world.addresser.address({ ...addressing, selector: ALL }, ADMIN, never));
    t.equal(results[0]?.code, 'already_exists');
    t.equal(agents[0]!.ran.length, 4);
    t.notOk(world.allLeases().some(({ state }) => state === 'pending' || state === 'bound'));
  });

  await t.test('a chosen address is taken, or nothing', async (t) => {
    const { world, agents } = await FleetWorld.ofImage(2);
    const address = parseIpv4('10.180.1.77');
    const [result] = await resultsOf(
      world.addresser.address({ ...addressing, address, selector: named('domU@dom0-1') }, ADMIN, never),
    );
    t.equal(result?.code, undefined);
    t.equal(agents[0]!.vms.get('/etc/xen/domU.cfg')?.vifs[0]?.guestAddress, address);
    const [second] = await resultsOf(
      world.addresser.address({ ...addressing, address, selector: named('domU@dom0-2') }, ADMIN, never),
    );
    t.equal(second?.code, 'already_exists');
    await t.rejects(collect(world.addresser.address({ ...addressing, address, selector: ALL }, ADMIN, never)), {
      code: 'invalid',
    });
  });

  await t.test('a failure gives back what was new and keeps what was held', async (t) => {
    const { world, agents } = await FleetWorld.ofImage(2);
    await resultsOf(world.addresser.address({ ...addressing, selector: named('domU@dom0-1') }, ADMIN, never));
    const held = world.allLeases();
    for (const agent of agents) {
      agent.behave = () => ({
        kind: 'failed',
        code: 'wrong_state',
        message: 'disk is in use',
        details: {},
        vm: undefined,
      });
    }
    const results = await resultsOf(world.addresser.address({ ...addressing, selector: ALL }, ADMIN, never));
    t.same(
      results.map(({ code }) => code),
      ['wrong_state', 'wrong_state'],
    );
    t.same(world.allLeases(), held);
  });

  await t.test('a link that breaks in the middle: the order is sent again and run once', async (t) => {
    const { world, agents } = await FleetWorld.ofImage(1);
    const agent = agents[0]!;
    agent.answers = false;
    const results = resultsOf(world.addresser.address({ ...addressing, selector: ALL }, ADMIN, never));
    await settle();
    agent.kill();
    await world.timers.advance(20_000);
    agent.answers = true;
    await agent.connect();
    t.equal((await results)[0]?.code, undefined);
    t.equal(agent.received.length, 2);
    t.equal(agent.ran.length, 1);
    t.equal(new Set(agent.received.map(({ orderId }) => orderId)).size, 1);
    t.same(
      world.allLeases().map(({ state }) => state),
      ['bound'],
    );
  });

  await t.test('of an order without an answer nobody knows the end: its lease stays pending', async (t) => {
    const { world, agents } = await FleetWorld.ofImage(1);
    agents[0]!.behave = () => 'silent';
    const results = resultsOf(world.addresser.address({ ...addressing, selector: ALL }, ADMIN, never));
    await settle();
    await world.timers.advance(310_000);
    t.equal((await results)[0]?.code, 'timeout');
    const [lease] = world.allLeases();
    t.equal(lease?.state, 'pending');
    t.ok((lease?.expiresAtMs ?? 0) > world.clock.nowMs());
    agents[0]!.behave = obey;
    await resultsOf(world.addresser.address({ ...addressing, selector: ALL }, ADMIN, never));
    t.match(world.allLeases(), [{ address: lease?.address, state: 'bound' }], 'its owner gets it again');
  });

  await t.test('an order that was cancelled before its turn gives everything back', async (t) => {
    const { world, agents } = await FleetWorld.ofImage(1);
    agents[0]!.behave = () => 'silent';
    const busy = { vmKey: 'other', timeoutMs: 60_000, action: { kind: 'start' } } as const;
    for (let n = 0; n < 64; n++) void world.orders.run(1, busy);
    const cancel = new AbortController();
    const results = resultsOf(world.addresser.address({ ...addressing, selector: ALL }, ADMIN, cancel.signal));
    await settle();
    t.match(world.allLeases(), [{ state: 'pending' }]);
    cancel.abort();
    t.equal((await results)[0]?.code, 'unavailable');
    t.equal(agents[0]!.received.length, 64);
    t.same(world.allLeases(), []);
  });

  await t.test('another reservation takes over from the former', async (t) => {
    const { world, agents } = await FleetWorld.ofImage(1);
    await resultsOf(world.addresser.address({ ...addressing, selector: ALL }, ADMIN, never));
    const ranges = [{ first: parseIpv4('10.184.0.1'), last: parseIpv4('10.184.0.9') }];
    await world.journal.submit((tx) =>
      world.pools.put(tx, tx.reservations.insert(reservationData(world.clock.nowMs(), { name: 'job-2', ranges }))),
    );
    await t.rejects(collect(world.addresser.address({ ...addressing, selector: ALL }, ADMIN, never)), {
      code: 'invalid',
    });
    await resultsOf(world.addresser.address({ ...addressing, selector: ALL, reservation: 'job-2' }, ADMIN, never));
    t.match(world.allLeases(), [{ state: 'quarantined' }, { state: 'bound' }]);
    t.equal(formatIpv4(agents[0]!.vms.get('/etc/xen/domU.cfg')!.vifs[0]!.guestAddress!), '10.184.0.1');
    const [started] = await resultsOf(world.starter.start({ ...starting, selector: ALL }, ADMIN, never));
    t.equal(started?.code, undefined);
  });
});

await t.test('restore files', async (t) => {
  const restoring = { selector: ALL, isDryRun: false };

  await t.test('what stands in no file any more is released, and it is history', async (t) => {
    const { world, agents } = await FleetWorld.ofImage(2);
    await resultsOf(world.addresser.address({ ...addressing, selector: ALL }, ADMIN, never));
    const [first, second] = world.allLeases();
    const claim = { kind: 'vif', vmId: 1, vifIndex: 0 } as const;
    await world.leases.release([first!.address], false, ADMIN);
    const { mac } = await world.macs.claim(claim, undefined, ADMIN);
    const all = await collect(world.restorer.restoreFiles({ ...restoring, isDryRun: true }, ADMIN, never));
    t.same(
      all
        .flatMap((each) => (each.kind === 'plan' ? [each] : []))
        .map((each) => each.steps.map(({ host, action, detail }) => [host, action, detail])),
      [
        [
          ['dom0-1', 'restore guest', 'as it was before domherd wrote it'],
          ['dom0-1', 'restore cfg', 'as it was before domherd wrote it'],
          ['dom0-1', 'release MAC', formatMac(mac)],
          ['dom0-2', 'restore guest', 'as it was before domherd wrote it'],
          ['dom0-2', 'restore cfg', 'as it was before domherd wrote it'],
          ['dom0-2', 'release lease', `${formatIpv4(second!.address)} (${formatMac(second!.mac)})`],
        ],
      ],
    );
    t.equal(agents[0]!.ran.length, 1, 'a dry run does nothing');

    const warnings = ['it had been edited'];
    agents[1]!.behave = (order, agent) => ({ ...(obey(order, agent) as OrderOutcome & { kind: 'done' }), warnings });
    const results = await resultsOf(world.restorer.restoreFiles(restoring, ADMIN, never));
    t.match(Object.fromEntries(results.map(({ host, code, message }) => [host, code ?? message])), {
      'dom0-1': `has its former files, released ${formatMac(mac)}`,
      'dom0-2': `has its former files, released ${formatIpv4(second!.address)}`,
    });
    t.same(results.find(({ host }) => host === 'dom0-2')?.warnings, warnings);
    t.same(
      agents.map(({ ran }) => ran.at(-1)?.action),
      [{ kind: 'restoreFiles' }, { kind: 'restoreFiles' }],
    );
    t.same(
      world.allLeases().map(({ state }) => state),
      ['quarantined', 'quarantined'],
    );
    t.notOk((await world.macs.list()).some((entry) => entry.mac === mac));
    t.match(
      world.allEvents('vm.files-restored').map(({ vmId, actor, details }) => [vmId, actor, details]),
      [
        [1, 'admin:ann', { addresses: '', macs: formatMac(mac) }],
        [2, 'admin:ann', { addresses: formatIpv4(second!.address), macs: formatMac(second!.mac) }],
      ],
    );
    const again = await resultsOf(world.restorer.restoreFiles(restoring, ADMIN, never));
    t.same(
      again.map(({ code, message }) => code ?? message),
      ['has its former files', 'has its former files'],
    );
  });

  await t.test('each VM has its own refusal, and keeps what it has', async (t) => {
    const world = new FleetWorld();
    const agent = world.host('dom0-1', [
      imageVm({ key: 'a', name: 'running', state: 'running' }),
      imageVm({ key: 'b', name: 'unknown', state: 'unknown' }),
      imageVm({ key: 'c', name: 'broken', problem: 'likely python' }),
      imageVm({ key: 'd', name: 'never' }),
      imageVm({ key: 'e', name: 'good' }),
    ]);
    await agent.connect();
    const away = await world.host('dom0-2', [imageVm({ name: 'away' })]).connect();
    await resultsOf(world.addresser.address({ ...addressing, selector: ALL }, ADMIN, never));
    const held = world.allLeases();
    t.equal(held.length, 3);
    away.kill();
    agent.behave = (order, agent) =>
      order.vmKey === 'd'
        ? { kind: 'failed', code: 'not_found', message: 'domherd holds no former files', details: {}, vm: undefined }
        : obey(order, agent);
    const all = await collect(world.restorer.restoreFiles(restoring, ADMIN, never));
    const results = all.filter((each) => each.kind === 'result');
    t.same(Object.fromEntries(results.map(({ vm, code }) => [vm, code])), {
      running: 'wrong_state',
      unknown: 'wrong_state',
      broken: 'wrong_state',
      never: 'not_found',
      away: 'unavailable',
      good: undefined,
    });
    t.equal(all[0]?.kind === 'plan' && all[0].warnings.length, 4);
    t.match(results.find(({ vm }) => vm === 'running')?.details, { hint: 'domherd vm shutdown running@dom0-1' });
    t.same(
      world.allLeases().map(({ state }) => state),
      held.map(({ owner }) => (owner.kind === 'vif' && owner.vmId === world.vm('good').id ? 'quarantined' : 'bound')),
    );
  });

  await t.test('of an order without an answer nobody knows the end: its lease stays', async (t) => {
    const { world, agents } = await FleetWorld.ofImage(1);
    await resultsOf(world.addresser.address({ ...addressing, selector: ALL }, ADMIN, never));
    agents[0]!.behave = () => 'silent';
    const results = resultsOf(world.restorer.restoreFiles(restoring, ADMIN, never));
    await settle();
    const started = resultsOf(world.starter.start({ ...starting, selector: ALL }, ADMIN, never));
    await settle();
    t.equal(agents[0]!.received.length, 2, 'a start waits for its turn');
    await world.timers.advance(310_000);
    t.equal((await results)[0]?.code, 'timeout');
    t.match(world.allLeases(), [{ state: 'bound' }]);
    await world.timers.advance(610_000);
    await started;
  });

  await t.test('one that was started by hand meanwhile keeps its lease', async (t) => {
    const { world, agents } = await FleetWorld.ofImage(1);
    await resultsOf(world.addresser.address({ ...addressing, selector: ALL }, ADMIN, never));
    agents[0]!.behave = ({ vmKey }, agent) => ({ kind: 'done', vm: agent.change(vmKey, { state: 'running' }) });
    const [result] = await resultsOf(world.restorer.restoreFiles(restoring, ADMIN, never));
    t.equal(result?.code, 'wrong_state');
    t.match(world.allLeases(), [{ state: 'bound' }]);
    t.same(world.allEvents('vm.files-restored'), []);
  });
});

await t.test('start', async (t) => {
  await t.test('of two copies of an image the first may start, the second is refused', async (t) => {
    const { world } = await FleetWorld.ofImage(2);
    const all = await collect(world.starter.start({ ...starting, selector: ALL }, ADMIN, never));
    t.match(all[0], { kind: 'plan', steps: [{ host: 'dom0-1', action: 'start' }] });
    const results = all.filter((each) => each.kind === 'result');
    t.same(Object.fromEntries(results.map(({ host, code }) => [host, code])), {
      'dom0-1': undefined,
      'dom0-2': 'wrong_state',
    });
    const [again] = await resultsOf(world.starter.start({ ...starting, selector: named('domU@dom0-2') }, ADMIN, never));
    t.equal(again?.code, 'wrong_state', 'later too');
    const [first] = await resultsOf(world.starter.start({ ...starting, selector: named('domU@dom0-1') }, ADMIN, never));
    t.match(first, { code: undefined, message: 'already running' });
  });

  await t.test('two requests at once are one gate', async (t) => {
    const { world, agents } = await FleetWorld.ofImage(2);
    agents[0]!.answers = false;
    const first = resultsOf(world.starter.start({ ...starting, selector: named('domU@dom0-1') }, ADMIN, never));
    await settle();
    const [second] = await resultsOf(
      world.starter.start({ ...starting, selector: named('domU@dom0-2') }, ADMIN, never),
    );
    t.equal(second?.code, 'wrong_state');
    agents[0]!.answers = true;
    agents[0]!.kill();
    await agents[0]!.connect();
    t.equal((await first)[0]?.code, undefined);
  });

  await t.test('a start that nobody answered may be on the wire', async (t) => {
    const { world, agents } = await FleetWorld.ofImage(2);
    agents[0]!.behave = () => 'silent';
    const first = resultsOf(world.starter.start({ ...starting, selector: named('domU@dom0-1') }, ADMIN, never));
    await settle();
    await world.timers.advance(610_000);
    t.equal((await first)[0]?.code, 'timeout');
    t.equal(world.vm('domU@dom0-1').state, 'unknown');
    t.equal(agents[0]!.endedWith?.code, 'unavailable', 'its host is to tell anew');
    const [second] = await resultsOf(
      world.starter.start({ ...starting, selector: named('domU@dom0-2') }, ADMIN, never),
    );
    t.equal(second?.code, 'wrong_state');
    await agents[0]!.connect();
    t.equal(world.vm('domU@dom0-1').state, 'stopped');
  });

  await t.test('a host that does not say what became of it is asked', async (t) => {
    const { world, agents } = await FleetWorld.ofImage(2);
    agents[0]!.behave = (order, agent) => {
      obey(order, agent);
      return { kind: 'done', vm: undefined };
    };
    const results = await resultsOf(world.starter.start({ ...starting, selector: ALL }, ADMIN, never));
    t.same(results.map(({ code }) => code).sort(), ['wrong_state', undefined]);
    t.equal(world.vm('domU@dom0-1').state, 'unknown');
    await agents[0]!.connect();
    t.equal(world.vm('domU@dom0-1').state, 'running');
  });

  await t.test('an answer in a session that was replaced is heard in the next one', async (t) => {
    const { world, agents } = await FleetWorld.ofImage(1);
    const [agent] = agents;
    agent!.answers = false;
    const results = resultsOf(world.starter.start({ ...starting, selector: ALL }, ADMIN, never));
    await settle();
    const former = agent!.session!;
    const twin = world.agent(1, 'deployment-dom0-1', [imageVm({ state: 'running' })]);
    twin.sessionCounter = 1;
    await twin.connect();
    const { orderId } = agent!.ran[0]!;
    await former.result(orderId, { kind: 'failed', code: 'internal', message: 'old', details: {}, vm: undefined });
    t.equal((await results)[0]?.code, undefined, 'the new session answered');
    t.equal(twin.received[0]?.orderId, orderId);
  });

  await t.test('force starts, and is history', async (t) => {
    const { world } = await FleetWorld.ofImage(2);
    await resultsOf(world.starter.start({ ...starting, selector: named('domU@dom0-1') }, ADMIN, never));
    const [second] = await resultsOf(
      world.starter.start({ ...starting, selector: named('domU@dom0-2'), force: true }, ADMIN, never),
    );
    t.equal(second?.code, undefined);
    t.match(world.allEvents('vm.start-forced'), [{ actor: 'admin:ann', vmId: 2 }]);
    t.match(world.conflicts.list(), [{ kind: 'mac', isActive: true, value: formatMac(IMAGE_MAC) }]);
  });

  await t.test('not on a MAC or address of somebody else, nor on a lease that ended', async (t) => {
    const { world, agents } = await FleetWorld.ofImage(1);
    await resultsOf(world.addresser.address({ ...addressing, selector: ALL }, ADMIN, never));
    const lease = world.allLeases()[0]!;
    const copy = world.host('dom0-9', [
      imageVm({ vifs: [{ ...imageVm().vifs[0]!, mac: lease.mac, guestAddress: lease.address }] }),
    ]);
    await copy.connect();
    const start = async (name: string) =>
      (await resultsOf(world.starter.start({ ...starting, selector: named(name) }, ADMIN, never)))[0]?.code;
    t.equal(await start('domU@dom0-9'), 'wrong_state', 'its MAC and address are leased to the original');
    t.match(
      world.conflicts
        .list()
        .map(({ kind }) => kind)
        .sort(),
      ['address', 'mac'],
    );
    await world.leases.release([lease.address], false, ADMIN);
    t.equal(await start('domU@dom0-1'), 'wrong_state', 'released: the lease has ended');
    await resultsOf(world.addresser.address({ ...addressing, selector: named('domU@dom0-1') }, ADMIN, never));
    await world.timers.advance(8 * 3_600_000);
    agents[0]!.kill();
    await agents[0]!.connect();
    t.equal(await start('domU@dom0-1'), 'wrong_state', 'the reservation is over');
  });

  await t.test('many orders for one host queue behind the first ones', async (t) => {
    const vms = Array.from({ length: 80 }, (_, n) =>
      imageVm({
        key: `k${n}`,
        name: `vm${n}`,
        vifs: [{ ...imageVm().vifs[0]!, mac: parseMac(`00:16:3e:00:00:${n.toString(16).padStart(2, '0')}`) }],
      }),
    );
    const { world, agents } = await FleetWorld.ofImage(1, vms);
    agents[0]!.answers = false;
    const two = [named(...vms.slice(0, 40).map(({ name }) => name)), named(...vms.slice(40).map(({ name }) => name))];
    const results = two.map((selector) => resultsOf(world.starter.start({ ...starting, selector }, ADMIN, never)));
    await settle();
    t.equal(agents[0]!.received.length, 64);
    agents[0]!.answers = true;
    agents[0]!.kill();
    await agents[0]!.connect();
    t.same(
      (await Promise.all(results)).flat().filter(({ code }) => code),
      [],
    );
    t.equal(agents[0]!.ran.length, 80);
  });
});
