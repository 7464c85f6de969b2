import t from 'tap';
import type { CreateRequest } from '../../controller/services/vm-creator.js';
import { progressOf } from '../fakes/cli-run.js';
import { obey, type Behaviour } from '../fakes/fake-agent.js';
import { ADMIN, collect, FleetWorld, resultsOf } from '../fakes/fleet-world.js';
import { settle } from '../fakes/manual-timer.js';
import { FleetCli, until, type Row } from '../harness/fleet-cli.js';

const never = new AbortController().signal;
const named = (...names: string[]) => ({ names, all: false });
interface Refusal {
  code: string;
  message?: RegExp | string;
  details?: Record<string, RegExp | string>;
}

const like = (name: string) => ({ kind: 'like', like: name }) as const;
const WEB: CreateRequest = {
  ...{ name: 'web', count: undefined, source: like('domU'), hosts: [], placement: 'spread' },
  ...{ shape: {}, reservation: undefined, bridge: undefined, isDryRun: false },
  ...{ labels: {}, apart: undefined, isStarted: false },
};

t.test('VMs by the dozen: placed, copied, addressed', async (t) => {
  const { world, agents } = await FleetWorld.ofImage(4);
  const all = await collect(
    world.creator.create({ ...WEB, count: 40, shape: { memoryMib: 256, vcpus: 2 } }, ADMIN, never),
  );
  t.match(all[0], { kind: 'plan', warnings: [] });
  const results = all.filter((each) => each.kind === 'result');
  t.strictSame([results.length, results.filter(({ code }) => code)], [40, []]);
  for (const agent of agents) t.equal(agent.vms.size, 11, 'ten each, and the image');
  const leases = world.allLeases();
  t.equal(new Set(leases.map(({ address }) => address)).size, 40);
  t.ok(leases.every(({ state }) => state === 'bound'));
  t.match(world.vm('web-7'), { memoryMib: 256, vcpus: 2, state: 'stopped', isGone: false });
  t.ok(world.vm('web-7').vifs[0]?.mac, 'the MAC of its lease');
  t.match(world.allEvents('vm.created')[0]?.message, /^VM web-\d+@dom0-\d was made, a copy of domU@dom0-\d$/);

  await t.rejects(collect(world.creator.create({ ...WEB, count: 8 }, ADMIN, never)), {
    code: 'already_exists',
    message: /there is a VM web-1@dom0-\d already/,
  });
  const deleted = await resultsOf(
    world.deleter.delete({ selector: named('web-7', 'web-8'), isDryRun: false }, ADMIN, never),
  );
  t.strictSame(
    deleted.map(({ code }) => code),
    [undefined, undefined],
  );
  t.match(deleted[0]?.message, /^deleted, released 10\.180\./);
  t.equal(world.allLeases().filter(({ state }) => state === 'quarantined').length, 2);
  t.equal(world.allEvents('vm.deleted').length, 2);

  const wide = { ...WEB, name: 'gate', shape: { extraVifs: ['br1', 'br2'] } };
  t.equal((await resultsOf(world.creator.create(wide, ADMIN, never)))[0]?.code, undefined);
  const { vifs } = world.vm('gate');
  t.match(vifs, [{ bridge: 'br0' }, { bridge: 'br1' }, { bridge: 'br2' }]);
  const given = vifs.map(({ guestAddress, mac }) => [guestAddress, mac] as const);
  t.equal(new Set(given.flat()).size, 6, 'an address and a MAC for each');
  t.ok(given.flat().every(Boolean));
});

t.test('what cannot be made is refused before anything is', async (t) => {
  const { world, agents } = await FleetWorld.ofImage(2);
  const refuses = async (change: Partial<CreateRequest>, error: Refusal): Promise<void> => {
    await t.rejects(collect(world.creator.create({ ...WEB, ...change }, ADMIN, never)), error);
    t.strictSame([world.allLeases(), agents.flatMap(({ ran }) => ran)], [[], []]);
  };
  await refuses({ count: 40 }, { code: 'exhausted', message: '40 VMs do not fit: the hosts have memory for 30' });
  await refuses(
    { count: 40 },
    {
      code: 'exhausted',
      details: { hosts: /dom0-1 15 \(8192 MiB free, 528 each\)/, hint: /--count 30 or --count max would fit/ },
    },
  );
  const eight = { extraVifs: Array.from({ length: 8 }, () => 'br1') };
  await refuses(
    { shape: eight },
    { code: 'invalid', message: /would have 9 NICs/, details: { hint: /7 --extra-vif/ } },
  );
  await refuses({ name: '7' }, { code: 'invalid', message: /only digits/ });
  await refuses({ name: 'a/b' }, { code: 'invalid', message: /"\/" at character 2/ });
  await refuses({ source: like('none') }, { code: 'not_found', message: /no VM none to copy/ });
  await refuses({ hosts: ['dom0-9'] }, { code: 'not_found', message: /host "dom0-9" is unknown/ });
  await refuses({ reservation: 'other' }, { code: 'not_found' });
  await agents[0]!.set('/etc/xen/domU.cfg', { state: 'running' });
  await refuses(
    { source: like('domU@dom0-1') },
    { code: 'wrong_state', details: { hint: 'domherd vm shutdown domU@dom0-1' } },
  );
  const plan = await collect(world.creator.create({ ...WEB, count: 2, isDryRun: true }, ADMIN, never));
  t.match(plan, [{ kind: 'plan', warnings: [/^left out: VM domU@dom0-1 is running/] }]);
  t.match(plan[0]?.kind === 'plan' && plan[0].steps[0], { vm: 'web-1', host: 'dom0-2', action: 'copy' });
});

t.test('one failure leaves the others, and nothing of itself', async (t) => {
  const { world, agents } = await FleetWorld.ofImage(2);
  const failing =
    (kind: string): Behaviour =>
    (order, agent) =>
      order.action.kind === kind && order.vmKey !== '/etc/xen/domU.cfg'
        ? {
            kind: 'failed',
            code: 'exhausted',
            message: `no room to ${kind}`,
            details: {},
            vm: agent.vms.get(order.vmKey),
          }
        : obey(order, agent);
  for (const kind of ['copy', 'configure', 'setAutostart']) {
    agents[0]!.behave = failing(kind);
    const name = `by-${kind}`;
    const results = await resultsOf(
      world.creator.create({ ...WEB, name, count: 4, isAutostarted: true }, ADMIN, never),
    );
    const failed = results.filter(({ code }) => code);
    t.strictSame(
      failed.map(({ host }) => host),
      ['dom0-1', 'dom0-1'],
    );
    t.match(failed[0]?.message, new RegExp(`^no room to ${kind}`));
    if (kind !== 'copy') t.match(failed[0]?.message, /; it was taken away again$/);
    t.equal(agents[0]!.vms.size, 1, 'only the image is left there');
    const made = [...agents[1]!.vms.values()].filter((vm) => vm.name.startsWith(name));
    t.match(made, [{ isAutostarted: true }, { isAutostarted: true }]);
  }
  t.equal(world.allEvents('vm.autostart-set').length, 6);
  t.equal(world.allLeases().filter(({ state }) => state === 'bound').length, 6, 'and no lease that nobody has');
});

t.test('a host copies one disk at a time, and has four VMs in the making at most', async (t) => {
  const copiesWhile = async (kept: string): Promise<readonly number[]> => {
    const { world, agents } = await FleetWorld.ofImage(2);
    for (const agent of agents) {
      agent.behave = (order, itself) => (order.action.kind === kept ? 'silent' : obey(order, itself));
    }
    void resultsOf(world.creator.create({ ...WEB, count: 24 }, ADMIN, never));
    await settle();
    return agents.map(({ received }) => received.filter(({ action }) => action.kind === 'copy').length);
  };
  t.strictSame(await copiesWhile('copy'), [1, 1]);
  t.strictSame(await copiesWhile('configure'), [4, 4]);
});

t.test('a client that leaves: the making goes on', async (t) => {
  const { world, agents } = await FleetWorld.ofImage(1);
  const abort = new AbortController();
  agents[0]!.behave = (order, agent) => {
    if (order.action.kind === 'configure') abort.abort();
    return obey(order, agent);
  };
  for await (const each of world.creator.create({ ...WEB, count: 3 }, ADMIN, abort.signal)) {
    if (each.kind !== 'plan') break;
  }
  await settle(60);
  t.equal(agents[0]!.vms.size, 4);
  t.equal(world.allLeases().filter(({ state }) => state === 'bound').length, 3);
});

t.test('by the command line, over simulated hosts', async (t) => {
  const fleet = new FleetCli();
  t.teardown(() => fleet.fleet.stop());
  await fleet.start(['dom0-1', 'dom0-2'], 2);
  await fleet.ok('reservation import - --name job --ends +4h --gateway 10.183.255.254 --prefix 14', {
    stdin: '10.180.0.0/22\n',
  });
  const made = JSON.parse(await fleet.ok('vm create web --count 6 --like domU --memory 32 -o json')) as unknown[];
  t.equal(made.length, 6);
  t.match(made[0], {
    errorCode: null,
    state: { memoryMib: 32, simulated: true, vifs: [{ lease: { state: 'bound' } }] },
  });
  const plan = await fleet.run('vm clone web-1 db --count 2 --autostart --dry-run');
  t.match(plan, { exitCode: 0, out: /db-1@dom0-\d +copy +web-1@dom0-\d: cfg and disks[^]*db-1@\S+ +start at boot/ });
  await fleet.ok('vm clone web-1 db --count 2 --autostart');
  t.match(await fleet.rows('vm list db-1 db-2 web-1'), [
    { autostart: true },
    { autostart: true },
    { autostart: false },
  ]);
  await fleet.ok('vm start web-1 web-2 db-1');
  await fleet.ok('vm wait web-1 web-2 db-1 --for=running');
  const running = await fleet.run('vm delete web-1 --yes');
  t.match(running, { exitCode: 5, err: /"hint":"domherd vm shutdown web-1@dom0-/ });
  await fleet.ok('vm destroy --all --yes');
  await fleet.ok('vm delete web-1 web-2 web-3 web-4 web-5 web-6 db-1 db-2 --yes');
  t.equal((await fleet.rows('vm list')).length, 4, 'the image is as it was');
  const table = await fleet.ok('disk list --host dom0-1');
  t.match(
    table,
    /^dom0-1 +\/ +btrfs +600 GiB +400 GiB +33 % +4 +yes: it is the root file system, without \/tmp +copies/m,
  );
  t.match(table, /^dom0-1 +\/tmp +btrfs +200 GiB +200 GiB +0 % +0 +no: \/tmp is left out +.*simulated$/m);
  const stores = JSON.parse(await fleet.ok('disk list -o json')) as readonly Readonly<Record<string, unknown>>[];
  t.equal(stores.length, 8);
  t.match(stores[0], {
    ...{ host: 'dom0-1', store: '/', kind: 'file system', sizeBytes: 600 * 2 ** 30, metadataPercent: null },
    ...{ recorded: true, disks: [{ path: '/opt/xen/domains/domU/disk.img' }] },
  });
  t.match(await fleet.run('disk list --host dom0-9'), { exitCode: 3, err: /dom0-9/ });
  t.match(await fleet.run('disk list -o name'), {
    out: '/@dom0-1\n/tmp@dom0-1\nvg0@dom0-1\nvg0/pool@dom0-1\n/@dom0-2\n/tmp@dom0-2\nvg0@dom0-2\nvg0/pool@dom0-2\n',
  });
  const { err } = await fleet.run(
    'vm create one --like domU@dom0-1 --storage qcow2 --disk 6144 --swap 64 --extra-disk 10,20',
  );
  t.match(err, /disk\.img \(qcow2: as asked; domU is neither started/, 'why it is kept so');
  t.match(err, /swap\.img, 64 MiB of swap[^]*data-1\.img, 10 MiB[^]*data-2\.img, 20 MiB/);
  t.match(await fleet.run('vm start domU@dom0-1'), { exitCode: 5, err: /domU cannot be started: one share its disks/ });
  t.match(await fleet.run('vm address domU@dom0-1'), {
    exitCode: 5,
    err: /domU cannot be addressed: one share its disks/,
  });
  await fleet.ok('vm delete one --yes');
  await fleet.ok('vm clone domU@dom0-1 two --extra-vif xenbr0');
  t.match(await fleet.rows('vm list two'), [
    { vifs: [{ lease: { state: 'bound' } }, { bridge: 'xenbr0', lease: { state: 'bound' } }] },
  ]);
  const noBridge = /host dom0-1 has no bridge br9 for --extra-vif: it has xenbr0 \(uplink eth0\)/;
  for (const args of [
    'vm clone domU@dom0-1 three --extra-vif xenbr0,br9',
    'vm clone domU@dom0-2 three --on dom0-1 --extra-vif br9',
  ]) {
    t.match(await fleet.run(args), { exitCode: 3, err: noBridge }, args);
  }
  t.match(await fleet.run('vm create three --like domU --extra-vif br9 --dry-run'), {
    exitCode: 3,
    err: /no bridge br9/,
  });
  await fleet.ok('vm delete two --yes');
  await fleet.ok('vm address domU@dom0-1');
  t.match(await fleet.run('vm delete domU@dom0-1 --yes'), { exitCode: 5, err: /was not made by domherd/ });
  await fleet.ok('vm create live --like domU@dom0-1 --start');
  await fleet.ok('vm wait live --for=running');
  const copied = await fleet.run('vm clone live twin --stop-source -o json');
  t.match(JSON.parse(copied.out), [{ vm: 'twin@dom0-1', errorCode: null }], 'data is of the copy alone');
  t.match(copied.err, /live@dom0-1 is shut down to be copied[^]*live@dom0-1 is started again\n$/);
  t.match(await fleet.rows('vm list live'), [{ state: /starting|running/ }]);
  const again = 'vm clone live twin --stop-source --request-id twin-of-live';
  const refused = await fleet.run(again);
  t.match(refused, { exitCode: 4, err: /live@dom0-1 is shut down to be copied[^]*live@dom0-1 is started again/ });
  t.match(await fleet.rows('vm list live'), [{ state: /starting|running/ }], 'also when the copy was refused');
  const unread = await fleet.run('vm clone live twin-2 --stop-source --user-data /nonexistent/seed');
  t.match(unread, { exitCode: 3, err: /the user data cannot be read/ });
  t.notMatch(unread.err, /shut down/, 'not for what is refused at once');
  await fleet.ok('vm wait live --for=running');
  await fleet.ok('vm delete twin --yes');
  t.match(await fleet.run(again), { exitCode: 0 }, 'repeated: it is shut down again');
  await fleet.ok('vm wait live --for=running');
  const [stays] = await fleet.rows('vm list live');
  const to = stays?.['host'] === 'dom0-1' ? 'dom0-2' : 'dom0-1';
  const moved = await fleet.run(`vm migrate live --to ${to}`);
  t.match(moved, { exitCode: 0, err: /look at its disks/ }, 'live');
  const [there] = await fleet.rows('vm list live');
  t.match(there, { host: to, id: stays?.['id'], uuid: stays?.['uuid'], state: 'running', simulated: true });
  const addressesOf = (row: Row | undefined) => (row?.['vifs'] as Row[]).map(({ guestAddress }) => guestAddress);
  t.strictSame(addressesOf(there), addressesOf(stays));
  await fleet.ok('vm destroy live --yes');
  t.match(await fleet.run('vm delete live --yes'), { exitCode: 5, err: /not made by domherd/ }, 'nor its disks there');
  for (const [args, err] of [
    ['vm create web', /--like/],
    ['vm create web --like domU --count 0', /1 to 1000/],
    ['vm create web --like domU --spread --pack', /--pack|--spread/],
    ['vm create web --like domU --storage raid', /copy, reflink, lvm-snapshot, lvm-thin, qcow2/],
    ['vm create web --like domU --disk 0', /1 to 67108864/],
    ['vm clone domU@dom0-1 web --swap 1.5', /1 to 67108864/],
    ['vm create web --like domU --extra-disk 10,x', /1 to 67108864/],
    ['vm create web --like domU --extra-vif br1,', /no name of a bridge/],
    ['vm create web --like domU --extra-vif a-name-that-is-too-long', /no name of a bridge/],
    ['vm create web --like domU --extra-vif a,b,c,d,e,f,g,h', /7 at most/],
    ['vm clone domU@dom0-1 web --extra-vif a,b,c,d --extra-vif e,f,g,h', /7 at most/],
    ['vm create web --like domU --autostart=yes', /autostart/],
    ['plan web --like domU --autostart', /--autostart/],
    ['vm delete web-1', /--yes/],
    ['vm create web --like domU --request-id short', /8 to 64 characters/],
  ] as const) {
    t.match(await fleet.run(args), { exitCode: 2, err }, args);
  }
});

t.test('interrupted at the terminal', async (t) => {
  const fleet = new FleetCli();
  t.teardown(() => fleet.fleet.stop());
  await fleet.start(['dom0-1'], 1, ['copy-ms=400']);
  await fleet.ok('reservation import - --name job --ends +4h --gateway 10.183.255.254 --prefix 14', {
    stdin: '10.180.0.0/22\n',
  });
  const abort = new AbortController();
  const create = 'vm create web --count 4 --like domU -o json';
  const interrupted = fleet.run(create, { signal: abort.signal });
  await until(async () => (await fleet.rows('vm list')).length > 1, 'the first is made');
  abort.abort();
  const { exitCode, err, out } = await interrupted;
  t.equal(exitCode, 130);
  t.match(err, /^undoing what is not whole; Ctrl-C again leaves that to the controller$/m);
  const told = progressOf(err);
  t.match(told.at(-1), { type: 'result', left: 0 }, 'notes stand between what a program reads');
  t.match(
    told.find(({ errorCode }) => errorCode),
    { type: 'result', hint: /\S/ },
  );
  const outcomes = (JSON.parse(out) as { errorCode: string | null; message: string }[]).map(
    ({ errorCode }) => errorCode,
  );
  t.equal(outcomes.length, 4, 'each is reported');
  t.ok(outcomes.filter((code) => code === 'unavailable').length >= 2);
  const left = outcomes.filter((code) => code === null).length;
  t.equal((await fleet.rows('vm list')).length, 1 + left, 'what is whole is there, and nothing else');
  t.equal((await fleet.rows('lease list --state bound')).length, left);
  t.equal((await fleet.rows('lease list --state pending')).length, 0);

  const again = /^to continue: domherd (vm create web --count 4 --like domU -o json --request-id \S+)$/m.exec(err)?.[1];
  const made = JSON.parse(await fleet.ok(again ?? 'no command')) as { errorCode: null }[];
  t.equal(made.length, 4);
  t.equal((await fleet.rows('vm list')).length, 5);
  t.match(await fleet.run(`${again ?? ''} --memory 99`), { exitCode: 2, err: /used before, for another request/ });
});
