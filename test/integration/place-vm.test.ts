import t from 'tap';
import type { CreateRequest } from '../../controller/services/vm-creator.js';
import { imageVm, obey } from '../fakes/fake-agent.js';
import { ADMIN, collect, FleetWorld, reservationData, resultsOf } from '../fakes/fleet-world.js';
import { settle } from '../fakes/manual-timer.js';
import { FleetCli } from '../harness/fleet-cli.js';

const never = new AbortController().signal;
const named = (...names: string[]) => ({ names, all: false });

const DB: CreateRequest = {
  ...{ name: 'db', count: undefined, source: { kind: 'like', like: 'domU' }, hosts: [], placement: 'spread' },
  ...{ shape: {}, reservation: undefined, bridge: undefined, isDryRun: false },
  ...{ labels: {}, apart: undefined, isStarted: false },
};
const ROLE = { labels: { role: 'db' }, apart: 'role' };

t.test('VMs apart', async (t) => {
  const { world } = await FleetWorld.ofImage(3);
  await resultsOf(world.creator.create({ ...DB, ...ROLE, count: 2 }, ADMIN, never));
  const hosts = new Set(['db-1', 'db-2'].map((name) => world.vm(name).hostId));
  t.equal(hosts.size, 2);
  t.strictSame(world.query.get('db-1').labels, { role: 'db' });
  await t.rejects(collect(world.creator.create({ ...DB, ...ROLE, name: 'more', count: 2 }, ADMIN, never)), {
    code: 'exhausted',
    message: '2 VMs do not fit: the hosts have places apart for 1',
    details: { hosts: /dom0-\d 0 \(one of role=db a host, and db-1 is there\)/ },
  });
  const [third] = await resultsOf(world.creator.create({ ...DB, ...ROLE, name: 'third' }, ADMIN, never));
  t.match(third, { code: undefined });
  await t.rejects(collect(world.creator.create({ ...DB, ...ROLE, name: 'fourth' }, ADMIN, never)), {
    code: 'exhausted',
  });
  await t.rejects(collect(world.creator.create({ ...DB, name: 'x', apart: 'rack' }, ADMIN, never)), {
    code: 'invalid',
    details: { hint: /--label rack=VALUE/ },
  });
  await t.rejects(collect(world.creator.create({ ...DB, name: 'own', apart: '', count: 4 }, ADMIN, never)), {
    code: 'exhausted',
    details: { fits: '3' },
  });
  t.equal((await resultsOf(world.creator.create({ ...DB, name: 'own', apart: '', count: 3 }, ADMIN, never))).length, 3);

  await world.labeler.change(named('db-1'), { role: undefined }, ADMIN);
  t.match(await resultsOf(world.creator.create({ ...DB, ...ROLE, name: 'fifth' }, ADMIN, never)), [
    { code: undefined },
  ]);
  t.equal(world.vm('fifth').hostId, world.vm('db-1').hostId, 'where none has that label any more');
});

t.test('VMs that are being made count: memory, labels, cores', async (t) => {
  const { world, agents } = await FleetWorld.ofImage(1);
  agents[0]!.behave = () => 'silent';
  const making = { ...DB, ...ROLE, shape: { memoryMib: 4_000, vcpus: 6 } };
  void collect(world.creator.create(making, ADMIN, never));
  await settle();
  const plan = world.creator.plan({ ...making, name: 'two' }, ADMIN);
  t.match(plan.survey.sites, [{ name: 'dom0-1', cpus: 8, vcpusTaken: 6, vcpus: 6 }]);
  t.strictSame(plan.survey.sites[0]?.limits, [
    { kind: 'label', fits: 0, detail: 'one of role=db a host, and db is there' },
    { kind: 'memory', fits: 1, detail: '4176 MiB free, 4016 each' },
  ]);
  t.match(plan.problem, { code: 'exhausted' });
});

t.test('as many as fit', async (t) => {
  const { world, agents } = await FleetWorld.ofImage(2);
  const request: CreateRequest = { ...DB, count: 'max', shape: { memoryMib: 2_000 } };
  const ann = { ...ADMIN, requestId: 'request-of-ann', fingerprint: 'max' };
  t.equal((await resultsOf(world.creator.create(request, ann, never))).length, 8, 'four a host');
  for (const agent of agents) t.equal(agent.vms.size, 5);
  t.equal(
    (await resultsOf(world.creator.create(request, ann, never))).length,
    8,
    'repeated: the same, though more would fit',
  );
  t.equal(agents[0]!.vms.size, 5);

  await t.test('by the addresses that are left', async (t) => {
    const few = world.database.write((tx) => {
      const ranges = [{ first: world.allLeases()[0]!.address, last: world.allLeases()[0]!.address }];
      return tx.reservations.insert({ ...reservationData(world.clock.nowMs()), name: 'few', ranges });
    });
    world.database.write((tx) => world.pools.put(tx, few));
    await t.rejects(collect(world.creator.create({ ...DB, name: 'x', reservation: 'few', count: 3 }, ADMIN, never)), {
      code: 'exhausted',
      message: '3 VMs need 3 addresses: few has 0 free',
    });
  });
  await t.rejects(
    collect(
      world.creator.create(
        { ...request, name: 'big', reservation: 'job-1', shape: { memoryMib: 9_000 } },
        ADMIN,
        never,
      ),
    ),
    {
      code: 'exhausted',
      message: /for 0$/,
    },
  );
});

t.test('the plan tells of each host, and changes nothing', async (t) => {
  const { world, agents } = await FleetWorld.ofImage(2);
  const bare = world.host('dom0-3', []);
  await bare.connect();
  const away = world.host('dom0-4', [imageVm()]);
  await away.connect();
  away.kill();
  await agents[1]!.set('/etc/xen/domU.cfg', { state: 'running' });
  const plan = world.creator.plan({ ...DB, count: 5 }, ADMIN);
  t.match(plan, { wanted: 5, problem: undefined, reservation: 'job-1' });
  t.equal(plan.placed.length, 5);
  t.match(
    plan.survey.sites.map(({ name }) => name),
    ['dom0-1'],
  );
  t.match(plan.survey.others, [
    { name: 'dom0-2', limit: { kind: 'source', detail: /is running: it is copied while it is stopped/ } },
    { name: 'dom0-3', limit: { kind: 'source', detail: 'there is nothing to make them of' } },
    { name: 'dom0-4', limit: { kind: 'host' } },
  ]);
  t.match(world.creator.plan({ ...DB, count: 50 }, ADMIN), { problem: { code: 'exhausted' }, placed: [] });
  t.strictSame([world.allLeases(), agents.flatMap(({ ran }) => ran)], [[], []]);
  t.strictSame(
    world.database.read((stores) => stores.jobs.listLive('create')),
    [],
  );
  await t.test('of hosts by name and pattern', async (t) => {
    const sites = (hosts: string[]): string[] =>
      world.creator.plan({ ...DB, hosts }, ADMIN).survey.sites.map(({ name }) => name);
    t.strictSame(sites(['dom0-[1-2]']), ['dom0-1']);
    t.strictSame(sites(['*-3']), []);
    t.match(await resultsOf(world.creator.create({ ...DB, hosts: ['dom0-*'] }, ADMIN, never)), [{ host: 'dom0-1' }]);
    await t.rejects(collect(world.creator.create({ ...DB, name: 'x', hosts: ['dom0-[1,9]'] }, ADMIN, never)), {
      code: 'not_found',
      message: /no host dom0-9/,
    });
  });
});

t.test('started once they are made', async (t) => {
  const { world, agents } = await FleetWorld.ofImage(1);
  agents[0]!.behave = (order, agent) =>
    order.action.kind === 'start' && order.vmKey === '/etc/xen/db-2.cfg'
      ? { kind: 'failed', code: 'exhausted', message: 'no memory', details: {}, vm: agent.vms.get(order.vmKey) }
      : obey(order, agent);
  const results = await resultsOf(world.creator.create({ ...DB, count: 2, isStarted: true }, ADMIN, never));
  t.equal(world.vm('db-1').state, 'running');
  const failed = results.find(({ code }) => code);
  t.match(failed, { vm: 'db-2', code: 'exhausted', message: /; it is made, and not started: no memory/ });
  t.equal(world.vm('db-2').state, 'stopped', 'it stays');
  t.equal(world.allLeases().filter(({ state }) => state === 'bound').length, 2);
});

t.test('a VM that is deleted leaves its labels to nobody', async (t) => {
  const { world } = await FleetWorld.ofImage(1);
  await collect(world.creator.create({ ...DB, labels: { role: 'db' } }, ADMIN, never));
  const views = await world.labeler.change(named('db'), { rack: 'a' }, ADMIN);
  t.strictSame(views[0]?.labels, { rack: 'a', role: 'db' });
  t.match(world.allEvents('vm.labelled'), [{ message: 'labels of VM db@dom0-1: role=db -> rack=a,role=db' }]);
  await world.labeler.change(named('db'), { rack: 'a' }, ADMIN);
  t.equal(world.allEvents('vm.labelled').length, 1, 'nothing changed');
  await collect(world.deleter.delete({ selector: named('db'), isDryRun: false }, ADMIN, never));
  await collect(world.creator.create(DB, ADMIN, never));
  t.strictSame(world.query.get('db').labels, {});
});

t.test('by the command line', async (t) => {
  const fleet = new FleetCli();
  t.teardown(() => fleet.fleet.stop());
  await fleet.start(['dom0-1', 'dom0-2'], 1);
  await fleet.ok('reservation import - --name job --ends +4h --gateway 10.183.255.254 --prefix 14', {
    stdin: '10.180.0.0/22\n',
  });
  const before = await fleet.everything();
  const plan = await fleet.run('plan web --count 4 --like domU --memory 32 -o wide');
  t.match(plan, { exitCode: 0, err: /4 would be made; there is room for \d+, and 1022 addresses are free in job/ });
  t.match(plan.out, /dom0-1 +2 +\d+ +memory +2\/\d+/);
  t.match(await fleet.rows('plan web --count max --like domU --memory 32'), [
    { host: 'dom0-1', limits: [{ kind: 'memory' }] },
    { host: 'dom0-2' },
  ]);
  const refused = await fleet.run('plan web --count 3 --like domU --memory 32 --apart');
  t.match(refused, { exitCode: 7, err: /they cannot be made: 3 VMs do not fit: .*places apart for 2\nhint: / });
  t.equal(await fleet.everything(), before, 'nothing was changed');

  await fleet.ok('vm create web --count 2 --like domU --memory 32 --label role=front,rack=a --apart role --start');
  t.match(await fleet.rows('vm list web-*'), [
    { host: 'dom0-1', labels: { role: 'front', rack: 'a' } },
    { host: 'dom0-2', labels: { role: 'front', rack: 'a' } },
  ]);
  await fleet.ok('vm wait web-[1-2] --for=running');
  t.match(await fleet.ok('vm label web-1 rack- size=xl'), /web-1@dom0-\d +role=front,size=xl/);
  t.match(await fleet.ok('vm show web-1'), /Labels +role=front,size=xl/);
  t.match(await fleet.ok('vm list -o wide'), /rack=a,role=front/);
  for (const [args, err] of [
    ['vm create x --like domU --count most', /1 to 1000, or max/],
    ['vm create x --like domU --label role', /KEY=VALUE/],
    ['vm create x --like domU --label role=a,role=b', /given twice/],
    ['vm create x --like domU --apart rack', /no label rack/],
    ['vm create x --like domU --apart ra_-', /no key of a label/],
    ['plan x', /--like/],
    ['plan x --like domU --dry-run', /--dry-run/],
    ['plan x --like domU --count 0', /1 to 1000/],
    ['vm label web-1', /no label is given/],
    ['vm label role=db', /VM/],
    ['vm label web-1 a=b --all', /--all/],
  ] as const) {
    t.match(await fleet.run(args), { exitCode: 2, err }, args);
  }
  t.match(await fleet.run('plan x --like domU --on dom0-7'), { exitCode: 3 });
});
