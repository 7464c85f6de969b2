import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import type { OrderOutcome } from '../../controller/ports/agent-link.js';
import type { Vm } from '../../controller/domain/vm.js';
import { progressOf } from '../fakes/cli-run.js';
import { imageVm, obey, type Behaviour } from '../fakes/fake-agent.js';
import { ADMIN, collect, FleetWorld, resultsOf } from '../fakes/fleet-world.js';
import { settle } from '../fakes/manual-timer.js';
import { ConsoleRig } from '../harness/console-rig.js';

// vm set, restart, autostart and rename: the command line, over real gRPC, to an agent with a simulated Xen and real cfg files.

await t.test('what a VM is like', async (t) => {
  const rig = await ConsoleRig.start(false);
  t.teardown(() => rig.stop());
  const cfgPath = join(rig.folder, 'agent', 'sim', 'xen', 'domU.cfg');
  const cfg = (): string => readFileSync(cfgPath, 'latin1');
  const link = join(rig.folder, 'agent', 'sim', 'xen', 'auto', 'domU.cfg');
  const shown = async (): Promise<Record<string, unknown>> =>
    (JSON.parse((await rig.cli('vm show domU -o json')).out) as [Record<string, unknown>])[0];
  const ok = async (command: string) => {
    const run = await rig.cli(command);
    t.equal(run.exitCode, 0, `${command}: ${run.err}`);
    return run;
  };
  const refused = async (command: string, exitCode: number, text: RegExp) => {
    const before = cfg();
    const run = await rig.cli(command);
    t.equal(run.exitCode, exitCode, `${command}: ${run.err}`);
    t.match(run.err, text);
    t.equal(cfg(), before, 'nothing was changed');
  };

  await t.test('is set while it is stopped: cfg alone, comments and quotes kept', async (t) => {
    const before = cfg();
    const dry = await ok('vm set domU memory=256 on_crash=preserve --dry-run');
    t.match(dry.out, /write cfg +memory = 256, on_crash = preserve/);
    t.equal(cfg(), before);
    await ok('vm set domU memory=256 on_crash=preserve');
    const after = before.replace(/(memory +=) '512'/, "$1 '256'").replace(/(on_crash +=) 'restart'/, "$1 'preserve'");
    t.equal(cfg(), after);
    await ok('vm set domU --vcpus 2 maxmem=512 dhcp=');
    t.match(cfg(), /^vcpus +=\s'2'$/m);
    t.match(cfg(), /^maxmem = 512$/m);
    t.notMatch(cfg(), /^dhcp/m);
    t.match(await shown(), { memoryMib: 256, vcpus: 2, autostart: false });
  });

  await t.test('is set while it runs, and what must wait is said', async (t) => {
    await ok('vm start domU --force');
    await ok('vm wait domU --for=running');
    t.match(progressOf((await ok('vm set domU memory=512')).err).at(-1), { type: 'result', warnings: [] });
    t.match(await shown(), { memoryMib: 512, state: 'running' });
    const { err } = await ok('vm set domU memory=1024 extra=quiet');
    t.match(
      err,
      /1024 MiB \(it was started with 512 at most\), extra: from its next start on; domherd vm restart domU/,
    );
    t.match(await shown(), { memoryMib: 512 });
    t.match(cfg(), /^memory +=\s'1024'$/m);
    t.match(cfg(), /^extra = 'quiet'$/m);
  });

  await t.test('begins anew by a restart, unless it could not start again', async (t) => {
    await ok('vm start domU2 --force');
    await refused('vm restart domU', 5, /may not start: .*"hint":".*vm address/);
    t.match(await shown(), { state: 'running' }, 'so it was not shut down');
    await ok('vm destroy domU2 --yes');
    await ok('vm shutdown domU');
    const imported = await rig.cli('reservation import - --name r --ends +2h', { stdin: '10.180.0.0/22\n' });
    t.equal(imported.exitCode, 0, imported.err);
    await ok('vm address domU');
    await ok('vm start domU');
    await ok('vm wait domU --for=running');
    await ok('vm set domU vcpus=4');
    t.match(await shown(), { vcpus: 2 });
    const { out } = await ok('vm restart domU --timeout 1m --then destroy');
    t.match(out, /domU@dom0-1 +done .*restarted/);
    t.match(await shown(), { vcpus: 4, memoryMib: 1024 });
    await ok('vm shutdown domU');
    await ok('vm restart domU');
    t.match(await shown(), { state: /starting|running/ }, 'one that is stopped is started');
  });

  await t.test('is started at boot only with a live lease', async (t) => {
    await refused('vm autostart on domU2', 5, /vif 0 has no live lease.*"hint":"domherd vm address domU2@dom0-1"/);
    await ok('vm autostart on domU --dry-run');
    t.equal(existsSync(link), false);
    await ok('vm autostart on domU');
    await ok('vm autostart on domU');
    t.equal(readFileSync(link, 'latin1'), cfg(), 'the link leads to it');
    t.match(await shown(), { autostart: true });
    t.match((await ok('vm show domU')).out, /^Autostart +when its host boots, while its leases are live$/m);
    t.match((await ok('event list --kind vm.autostart-set')).out, /when its host boots/);
    await ok('vm autostart off domU domU2');
    t.equal(existsSync(link), false);
    const auto = (): string[] => readdirSync(dirname(link));
    await ok('vm create web --like domU2');
    await ok('vm autostart on web domU');
    t.strictSame(auto(), ['domU.cfg', 'web.cfg']);
    await ok('vm delete web --yes');
    t.strictSame(auto(), ['domU.cfg'], 'of a VM that is deleted no link is left');
  });

  await t.test('is renamed with all that it has, while it is stopped', async (t) => {
    await refused(
      'vm rename domU web',
      5,
      /is running: it is renamed while it is stopped","hint":"domherd vm shutdown domU/,
    );
    await ok('vm destroy domU --yes');
    await ok('vm autostart on domU');
    await ok('vm label domU role=db');
    const before = cfg();
    const [vif] = (await shown())['vifs'] as { readonly mac: string; readonly guestAddress: string }[];
    const dry = await ok('vm rename domU web --dry-run');
    t.match(
      dry.out,
      /write cfg +name = web\n[^]*write guest +hostname web\n[^]*rename cfg +\S+domU\.cfg -> \S+web\.cfg/,
    );
    t.equal(cfg(), before);
    await refused('vm rename domU domU2', 4, /there is a VM domU2@dom0-1 already/);
    const { out } = await ok('vm rename domU web --request-id rename-1');
    t.match(out, /^web@dom0-1 +done .*renamed from domU/m);
    t.equal((await ok('vm rename domU web --request-id rename-1')).out, out, 'asked again, it is answered as it was');
    const other = await rig.cli('vm rename domU2 web2 --request-id rename-1');
    t.match(other, { exitCode: 2, err: /used before, for another request/ });
    t.strictSame(readdirSync(dirname(cfgPath)).sort(), ['auto', 'domU2.cfg', 'web.cfg']);
    const webPath = join(dirname(cfgPath), 'web.cfg');
    t.equal(readFileSync(webPath, 'latin1'), before.replace(/^(name +=) 'domU'/m, "$1 'web'"));
    t.equal(readFileSync(join(dirname(link), 'web.cfg'), 'latin1'), readFileSync(webPath, 'latin1'));
    t.strictSame(readdirSync(dirname(link)), ['web.cfg']);
    const [web] = JSON.parse((await rig.cli('vm show web -o json')).out) as [Record<string, unknown>];
    t.match(web, { name: 'web', autostart: true, labels: { role: 'db' } });
    const { mac, guestAddress } = vif!;
    t.match(web['vifs'], [{ mac, guestAddress, lease: { owner: 'web@dom0-1', state: 'bound' } }]);
    t.match((await ok('event list --kind vm.renamed')).out, /VM domU@dom0-1 was renamed to web by /);
    t.equal((await rig.cli('vm show domU')).exitCode, 3);
    t.match((await ok('vm rename web web')).out, /already called web/);
    await ok('vm start web');
    await ok('vm destroy web --yes');
    await ok('vm rename web domU');
    t.equal(cfg(), before);
  });

  await t.test('what makes no sense is refused, with what does', async () => {
    await refused('vm rename domU', 2, /missing required argument 'name'/);
    await refused('vm rename domU a/b', 2, /"\/" at character 2/);
    await refused('vm rename domU 7', 2, /only digits/);
    await refused('vm rename nobody web', 3, /unknown/);
    await refused('vm set domU', 2, /nothing is to be set\nhint: as in: domherd vm set web-7 memory=512/);
    await refused('vm set memory=512', 2, /no VM is named/);
    await refused('vm set domU --memory 8', 2, /16 to 1048576/);
    await refused('vm set domU --vcpus 513', 2, /1 to 512/);
    await refused('vm set domU memory=lots', 2, /memory is "lots": a whole number of 16 to 1048576/);
    await refused('vm set domU memory=256 --memory 512', 2, /memory is given twice/);
    await refused('vm set domU extra=a extra=b', 2, /extra is given twice/);
    await refused('vm set domU name=other', 2, /name is not set by vm set\nhint: domherd vm rename/);
    await refused('vm set domU vif=x', 2, /vif is not set by vm set\nhint: domherd vm address/);
    await refused('vm set domU Memory=1', 2, /not a key/);
    await refused('vm set domU --all memory=256', 2, /exclude each other/);
    await refused('vm set nobody memory=256', 3, /unknown/);
    await refused('vm restart', 2, /no VM is named/);
    await refused('vm restart domU --timeout 0s', 2, /1s to 1h/);
    await refused('vm restart domU --then explode', 2, /leave, destroy/);
    await refused('vm autostart maybe domU', 2, /"maybe" is neither on nor off/);
    await refused('vm autostart on', 2, /no VM is named/);
  });
});

const NEVER = new AbortController().signal;
const [WEB, DB] = ['/etc/xen/web.cfg', '/etc/xen/db.cfg'];
const selectorOf = (name: string) => ({ names: [name], all: false });
const RENAME = { vm: 'web', name: 'db', isDryRun: false };

/** A VM "web" with address and label; of a "db" that there was before, the lease rests. */
async function makeWorld() {
  const [web, db] = [WEB, DB].map((key, n) => imageVm({ key, cfgPath: key, name: n === 0 ? 'web' : 'db' }));
  const world = new FleetWorld();
  const agent = world.host('dom0-1', [web!, db!]);
  await agent.connect();
  for (const name of ['web', 'db']) {
    const address = { selector: selectorOf(name), reservation: undefined, address: undefined, isDryRun: false };
    await collect(world.addresser.address(address, ADMIN, NEVER));
  }
  await collect(world.deleter.delete({ selector: selectorOf('db'), isDryRun: false }, ADMIN, NEVER));
  await world.labeler.change(selectorOf('web'), { role: 'db' }, ADMIN);
  agent.ran.splice(0);
  return { world, agent, before: world.vm('web') };
}

/** There is one VM, with all that it had. */
function checkVm(t: Test, world: FleetWorld, before: Vm, name: string): void {
  const key = `/etc/xen/${name}.cfg`;
  const [vm, ...others] = world.fleet.vms.onHost(before.hostId).filter(({ isGone }) => !isGone);
  t.match(vm, { id: before.id, name, key, cfgPath: key, vifs: before.vifs });
  t.equal(others.length, 0);
  const rows = world.database.read(({ vms }) => vms.list()).filter(({ isGone }) => !isGone);
  t.match(rows, [{ id: before.id, name, key }], 'kept so');
  t.strictSame(world.query.view(vm!).labels, { role: 'db' });
  const bound = world.allLeases().filter(({ state }) => state === 'bound');
  t.match(bound, [{ owner: { vmId: before.id }, mac: before.vifs[0]?.mac }]);
  t.strictSame(
    world.database.read(({ jobs }) => jobs.listLive('rename')),
    [],
  );
}

t.test('a renamed VM keeps what it has, however its host tells of it and whenever the controller dies', async (t) => {
  await t.test('told by the result alone', async (t) => {
    const { world, agent, before } = await makeWorld();
    t.match(await resultsOf(world.renamer.rename(RENAME, ADMIN, NEVER)), [
      { code: undefined, vm: 'db', message: 'renamed from web' },
    ]);
    checkVm(t, world, before, 'db');
    t.match(agent.ran, [
      {
        ...{ vmKey: WEB, action: { kind: 'rename', name: 'db', cfgPath: DB } },
        action: { guest: { hostname: 'db', vifs: [{ mac: before.vifs[0]?.mac, hasDefaultRoute: true }] } },
      },
    ]);
    t.match(world.allEvents('vm.renamed'), [{ details: { from: 'web', to: 'db' } }]);
    t.equal(world.allEvents('vm.gone').length, 1, 'that of the one that was deleted');
  });
  await t.test('told bit by bit: first that the old file is gone', async (t) => {
    const { world, agent, before } = await makeWorld();
    agent.behave = (order) => {
      void (async () => {
        const outcome = obey(order, agent);
        await agent.session?.change([], [WEB]);
        await agent.session?.change([agent.vms.get(DB)!], []);
        if (outcome !== 'silent') await agent.session?.result(order.orderId, outcome);
      })();
      return 'silent';
    };
    t.match(await resultsOf(world.renamer.rename(RENAME, ADMIN, NEVER)), [{ code: undefined }]);
    checkVm(t, world, before, 'db');
  });
  await t.test('asked again under its id, it is answered as it was, whatever has come of the VM', async (t) => {
    const { world, agent, before } = await makeWorld();
    const ann = { ...ADMIN, requestId: 'rename-of-ann', fingerprint: 'web to db' };
    agent.behave = (order) => {
      const outcome = obey(order, agent);
      return outcome === 'silent' || outcome.kind === 'failed' ? outcome : { ...outcome, warnings: ['mind the gap'] };
    };
    const first = await resultsOf(world.renamer.rename(RENAME, ann, NEVER));
    t.match(first, [
      { vm: 'db', message: 'renamed from web', warnings: ['mind the gap'], state: { vm: { name: 'db' } } },
    ]);
    const again = await collect(world.renamer.rename(RENAME, ann, NEVER));
    t.match(again[0], { kind: 'plan', steps: [{ vm: 'db', action: 'continue', detail: 'it is renamed' }] });
    t.strictSame(again.slice(1), first);
    await t.rejects(
      collect(world.renamer.rename({ ...RENAME, name: 'x' }, { ...ann, fingerprint: 'web to x' }, NEVER)),
      {
        code: 'invalid',
        message: /used before, for another request/,
      },
    );
    const next = world.restart();
    next.renamer.resume();
    await agent.connect();
    t.strictSame(await resultsOf(next.renamer.rename(RENAME, ann, NEVER)), first, 'by another controller as well');
    checkVm(t, next, before, 'db');
    t.equal(agent.ran.length, 1);
    await collect(next.deleter.delete({ selector: selectorOf('db'), isDryRun: false }, ADMIN, NEVER));
    t.match(await resultsOf(next.renamer.rename(RENAME, ann, NEVER)), [
      { code: undefined, vm: 'db', message: 'renamed from web', state: undefined },
    ]);
  });
  await t.test('asked again while it is under way, both hear the end', async (t) => {
    const { world, agent, before } = await makeWorld();
    const ann = { ...ADMIN, requestId: 'rename-of-ann', fingerprint: 'web to db' };
    let answer = (): void => undefined;
    agent.behave = (order) => {
      answer = () => void agent.session?.result(order.orderId, obey(order, agent) as OrderOutcome);
      return 'silent';
    };
    const first = resultsOf(world.renamer.rename(RENAME, ann, NEVER));
    await settle();
    const second = resultsOf(world.renamer.rename(RENAME, ann, NEVER));
    await settle();
    answer();
    t.match(await first, [{ code: undefined, vm: 'db' }]);
    t.strictSame(await second, await first);
    checkVm(t, world, before, 'db');
  });
  await t.test('refused by its host, it is what it was', async (t) => {
    const { world, agent, before } = await makeWorld();
    const ann = { ...ADMIN, requestId: 'rename-of-ann', fingerprint: 'web to db' };
    const failed: Behaviour = () => {
      return { kind: 'failed', code: 'wrong_state', message: 'in use', details: {}, vm: agent.vms.get(WEB) };
    };
    agent.behave = failed;
    t.match(await resultsOf(world.renamer.rename(RENAME, ann, NEVER)), [{ code: 'wrong_state', message: 'in use' }]);
    checkVm(t, world, before, 'web');
    t.match(world.allEvents('vm.failed'), [{ message: 'vm rename of web@dom0-1: in use' }]);
    agent.behave = obey;
    t.match(await resultsOf(world.renamer.rename(RENAME, ann, NEVER)), [{ code: undefined }], 'and tried anew');
    checkVm(t, world, before, 'db');
  });
  for (const when of ['before', 'after', 'never answered'] as const) {
    await t.test(`the controller dies: ${when}`, async (t) => {
      const { world, agent, before } = await makeWorld();
      agent.behave = (order) => {
        if (when !== 'after') world.die();
        const outcome = when === 'never answered' ? 'silent' : obey(order, agent);
        world.die();
        return outcome;
      };
      collect(world.renamer.rename(RENAME, ADMIN, NEVER)).catch(() => []);
      await settle(40);
      agent.behave = obey;
      const next = world.restart();
      next.renamer.resume();
      await settle();
      const start = { selector: selectorOf('web'), force: false, isDryRun: false };
      if (when === 'never answered') {
        const [refused] = await resultsOf(next.starter.start(start, ADMIN, NEVER));
        t.match(refused, { code: /unavailable|wrong_state/ }, 'nobody else touches it');
        const create = next.journal.read((stores) => () => next.maker.refuseReserved(stores, 'db'));
        t.throws(create, { code: 'already_exists', message: 'VM web is being renamed to db' });
      }
      await agent.connect();
      await settle(60);
      checkVm(t, next, before, 'db');
      const back = { vm: 'db', name: 'web', isDryRun: false };
      t.match(await resultsOf(next.renamer.rename(back, ADMIN, NEVER)), [{ code: undefined }]);
      checkVm(t, next, before, 'web');
    });
  }
  await t.test('its host goes away before it is told: whoever asks again hears the end', async (t) => {
    const { world, agent, before } = await makeWorld();
    const ann = { ...ADMIN, requestId: 'rename-of-ann', fingerprint: 'web to db' };
    const submit = world.journal.submit.bind(world.journal);
    world.journal.submit = async (work) => {
      const result = await submit(work);
      agent.kill();
      return result;
    };
    t.match(await resultsOf(world.renamer.rename(RENAME, ann, NEVER)), [
      { code: 'unavailable', details: { hint: /gone on with when dom0-1 is back/ } },
    ]);
    world.journal.submit = submit;
    let answer = (): void => undefined;
    agent.behave = (order) => {
      answer = () => void agent.session?.result(order.orderId, obey(order, agent) as OrderOutcome);
      return 'silent';
    };
    await agent.connect();
    await settle();
    const again = resultsOf(world.renamer.rename(RENAME, ann, NEVER));
    await settle();
    answer();
    t.match(await again, [{ code: undefined, vm: 'db' }]);
    checkVm(t, world, before, 'db');
  });
  await t.test('its host goes away meanwhile: who waits is told, and it is gone on with', async (t) => {
    const { world, agent, before } = await makeWorld();
    agent.behave = () => {
      agent.kill();
      return 'silent';
    };
    const results = resultsOf(world.renamer.rename(RENAME, ADMIN, NEVER));
    await settle();
    await world.timers.advance(320_000);
    t.match(await results, [{ code: 'unavailable', details: { hint: /gone on with when dom0-1 is back/ } }]);
    t.match(await resultsOf(world.renamer.rename(RENAME, ADMIN, NEVER)), [{ code: /unavailable|wrong_state/ }]);
    agent.behave = obey;
    await agent.connect();
    await settle(60);
    checkVm(t, world, before, 'db');
  });
});

const RESTART = { timeoutSeconds: 60, isDestroyedAfter: false, isDryRun: false };
const ANN = { ...ADMIN, requestId: 'restart-of-ann', fingerprint: 'restart web' };

/** A VM "web" on one host and its twin of the same MAC, stopped, on another. */
async function makeTwins() {
  const world = new FleetWorld();
  const vm = imageVm({ key: WEB, cfgPath: WEB, name: 'web', state: 'running' });
  const [agent, other] = [
    world.host('dom0-1', [vm]),
    world.host('dom0-2', [{ ...vm, name: 'twin', state: 'stopped' }]),
  ];
  for (const each of [agent, other]) await each.connect();
  const restart = (by = world, caller = ADMIN, signal = NEVER) =>
    resultsOf(by.changer.restart({ ...RESTART, selector: selectorOf('web') }, caller, signal));
  return { world, agent, other, restart };
}

const refusing: Behaviour = (order, agent) => {
  const vm = agent.vms.get(order.vmKey);
  return { kind: 'failed', code: 'timeout', message: 'web did not power off', details: {}, vm };
};

t.test('a restart is one order, and nobody else starts with what its VM has until it is answered', async (t) => {
  const start = (world: FleetWorld) =>
    resultsOf(world.starter.start({ selector: selectorOf('twin'), force: false, isDryRun: false }, ADMIN, NEVER));
  await t.test('while the guest is down', async (t) => {
    const { world, agent, restart } = await makeTwins();
    agent.behave = () => 'silent';
    const results = restart();
    await settle();
    await agent.set(WEB, { state: 'stopped' });
    t.match(await start(world), [{ code: 'wrong_state', message: /is being started/ }]);
    const { orderId } = agent.ran[0]!;
    await agent.session!.result(orderId, { kind: 'done', vm: agent.change(WEB, { state: 'running' }) });
    t.match(await results, [{ code: undefined, message: 'restarted' }]);
    t.match(await start(world), [{ code: 'wrong_state', message: /web@dom0-1/ }], 'it runs');
    t.strictSame(agent.ran.length, 1);
    t.match(agent.ran[0]?.action, { kind: 'restart', timeoutSeconds: 60, isDestroyedAfter: false });
    t.match(world.allEvents('vm.restarted'), [
      { actor: 'admin:ann', message: 'VM web@dom0-1 was restarted by admin:ann' },
    ]);
  });
  await t.test('nor after it, if nobody knows what came of it', async (t) => {
    const { world, agent, restart } = await makeTwins();
    agent.behave = () => 'silent';
    const results = restart();
    await settle();
    await agent.set(WEB, { state: 'stopped' });
    await world.timers.advance(60_000 + 750_000 + 10_000);
    t.match(await results, [{ code: 'timeout' }]);
    t.equal(world.vm('web').state, 'unknown');
    t.match(await start(world), [{ code: 'wrong_state' }]);
  });
  await t.test('one that its guest ignored has changed nothing', async (t) => {
    const { world, agent, restart } = await makeTwins();
    agent.behave = refusing;
    t.match(await restart(), [{ code: 'timeout', message: 'web did not power off' }]);
    t.equal(world.vm('web').state, 'running');
    t.equal(world.allEvents('vm.restarted').length, 0);
  });
  await t.test('whoever asked and leaves: it goes on', async (t) => {
    const { world, agent, restart } = await makeTwins();
    agent.behave = () => 'silent';
    const leave = new AbortController();
    const results = restart(world, ADMIN, leave.signal);
    await settle();
    leave.abort();
    await settle();
    t.strictSame(agent.cancelled, []);
    await agent.session!.result(agent.ran[0]!.orderId, { kind: 'done', vm: agent.vms.get(WEB) });
    t.match(await results, [{ code: undefined }]);
    t.match(await restart(world, ADMIN, AbortSignal.abort()), []);
    t.equal(agent.ran.length, 1);
  });
});

t.test('a request that comes again with its id', async (t) => {
  await t.test('restarts a VM once, whichever controller it comes to', async (t) => {
    const { world, agent, restart } = await makeTwins();
    const first = await restart(world, ANN);
    t.match(first, [{ code: undefined, message: 'restarted' }]);
    t.strictSame(await restart(world, ANN), first);
    const next = world.restart();
    await agent.connect();
    t.match(await restart(next, ANN), [{ code: undefined, message: 'restarted' }]);
    t.equal(agent.ran.length, 1);
    t.equal(next.allEvents('vm.restarted').length, 1);
    await restart(next, { ...ANN, fingerprint: 'restart web, and destroy it' });
    t.equal(agent.ran.length, 2, 'another request with that id is another order');
    await restart(next, { ...ANN, requestId: 'another' });
    await restart(next);
    await restart(next);
    t.equal(agent.ran.length, 5);
  });
  await t.test('before the controller heard of the end: it is told, and kept', async (t) => {
    const { world, agent, restart } = await makeTwins();
    agent.behave = (order) => {
      world.die();
      return obey(order, agent);
    };
    restart(world, ANN).catch(() => []);
    await settle();
    const next = world.restart();
    await agent.connect();
    t.equal(next.allEvents('vm.restarted').length, 0);
    t.match(await restart(next, ANN), [{ code: undefined, message: 'restarted' }]);
    t.equal(agent.ran.length, 1);
    t.equal(next.allEvents('vm.restarted').length, 1);
  });
  await t.test('twice at once: both hear the end', async (t) => {
    const { world, agent, other } = await makeTwins();
    agent.behave = () => 'silent';
    const reboot = () =>
      resultsOf(
        world.service.tell(
          { kind: 'reboot', timeoutSeconds: 9 },
          { selector: selectorOf('web'), isDryRun: false },
          ANN,
          NEVER,
        ),
      );
    const both = [reboot(), reboot()];
    await settle();
    t.equal(agent.received.length, 1);
    agent.behave = obey;
    agent.kill();
    await agent.connect();
    await agent.session!.result(agent.ran[0]!.orderId, { kind: 'done', vm: agent.vms.get(WEB) });
    t.match(await Promise.all(both), [[{ message: 'rebooted' }], [{ message: 'rebooted' }]]);
    t.equal(other.ran.length, 0);
  });
  await t.test('tries anew what failed, and once only', async (t) => {
    const { world, agent, restart } = await makeTwins();
    agent.behave = refusing;
    for (const runs of [1, 2]) {
      t.match(await restart(world, ANN), [{ code: 'timeout' }]);
      t.equal(agent.ran.length, runs);
    }
    const next = world.restart();
    await agent.connect();
    agent.behave = obey;
    t.match(await restart(next, ANN), [{ code: undefined }]);
    t.match(await restart(next, ANN), [{ code: undefined }]);
    t.equal(agent.ran.length, 3);
    t.equal(new Set(agent.ran.map(({ orderId }) => orderId)).size, 3);
    t.ok(agent.ran.every(({ orderId }) => /^[\da-f]{32}$/.test(orderId)));
  });
  await t.test('a failure whose answer was lost with the link is told, not run again', async (t) => {
    const { world, agent, restart } = await makeTwins();
    agent.behave = refusing;
    agent.answers = false;
    const results = restart(world, ANN);
    await settle();
    agent.answers = true;
    agent.behave = obey;
    agent.kill();
    await agent.connect();
    t.match(await results, [{ code: 'timeout' }]);
    t.equal(agent.ran.length, 1);
  });
  await t.test('does not do any of the simple verbs a second time', async (t) => {
    const { world, agent } = await makeTwins();
    const each = { selector: selectorOf('web'), isDryRun: false };
    const tell = (action: Parameters<typeof world.service.tell>[0]) => () =>
      world.service.tell(action, each, ANN, NEVER);
    const setting = { ...each, memoryMib: 256, vcpus: undefined, settings: [] };
    // Each after what undoes the one before, so that there is something to do.
    const verbs = [
      [tell({ kind: 'reboot', timeoutSeconds: 9 }), 'running'],
      [tell({ kind: 'pause' }), 'running'],
      [tell({ kind: 'unpause' }), 'paused'],
      [tell({ kind: 'shutdown', timeoutSeconds: 9, isDestroyedAfter: false }), 'running'],
      [tell({ kind: 'destroy' }), 'running'],
      [() => world.starter.start({ ...each, force: false }, ANN, NEVER), 'stopped'],
      [() => world.changer.set(setting, ANN, NEVER), 'stopped'],
      [() => world.changer.setAutostart(each, false, ANN, NEVER), 'stopped'],
    ] as const;
    for (const [n, [run, state]] of verbs.entries()) {
      for (const time of ['first', 'second']) {
        await agent.set(WEB, { state });
        t.match(await resultsOf(run()), [{ code: undefined }], time);
        t.equal(agent.ran.length, n + 1, `${agent.ran.at(-1)!.action.kind}, the ${time} time`);
      }
    }
  });
});
