import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import t from 'tap';
import { ConsoleRig } from '../harness/console-rig.js';

// vm set, restart and autostart: the command line, over real gRPC, to an agent with a simulated Xen and real cfg files.

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
    t.equal((await ok('vm set domU memory=512')).err.includes('warning'), false);
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
    await refused('vm restart domU', 5, /may not start: .*\n?[^]*hint: .*vm address/);
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
    await refused('vm autostart on domU2', 5, /vif 0 has no live lease[^]*hint: domherd vm address domU2@dom0-1/);
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

  await t.test('what makes no sense is refused, with what does', async () => {
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
