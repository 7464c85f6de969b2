import { appendFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import t from 'tap';
import { ConsoleRig } from '../harness/console-rig.js';
import { until } from '../harness/fleet-cli.js';

// vm show: the command line, over real gRPC, to an agent with a simulated Xen, real cfg files and real console logs.

interface Shown {
  readonly cfg: Readonly<Record<string, unknown>> | null;
  readonly disks: readonly Readonly<Record<string, unknown>>[];
  readonly consoleTail: readonly string[];
  readonly lastErrors: readonly { readonly kind: string; readonly message: string; readonly details: object }[];
  readonly notKnown: readonly string[];
}

await t.test('everything known of a VM', async (t) => {
  const rig = await ConsoleRig.start();
  t.teardown(() => rig.stop());
  const cfgPath = join(rig.folder, 'agent', 'sim', 'xen', 'domU.cfg');
  const ok = async (command: string) => {
    const run = await rig.cli(command);
    t.equal(run.exitCode, 0, `${command}: ${run.err}`);
    return run.out;
  };
  const json = async (command = 'vm show domU -o json'): Promise<Shown> =>
    (JSON.parse(await ok(command)) as [Shown])[0];

  await t.test('cfg and disks, of one that is stopped too', async (t) => {
    appendFileSync(cfgPath, "vfb = [ 'vnc=1,vncpasswd=hunter2' ]\nvncpasswd = 'hunter2'\nmemory = 640\n");
    const { cfg, disks, consoleTail, notKnown, lastErrors } = await json();
    t.match(cfg, { name: 'domU', memory: '640', vfb: ['vnc=1,vncpasswd=***'], vncpasswd: '***' });
    t.match(disks, [
      { vdev: 'xvda2', format: 'raw', readOnly: false, sizeBytes: 65_536, usedBytes: 65_536, origin: '', problem: '' },
      { vdev: 'xvda1', target: /swap\.img$/ },
    ]);
    t.strictSame(consoleTail, []);
    t.match(notKnown, [/^console: .*not logged \(domherd host add/], 'and why');
    t.strictSame(lastErrors, []);
    const table = await ok('vm show domU');
    t.match(table, /^Not known +console: /m);
    t.match(table, /\n\nDISK +FORMAT +SIZE +USED +TARGET +NOTE\nxvda2 +raw +64\.0 KiB +64\.0 KiB +\/opt\/xen/);
    t.match(table, /\n\nCFG KEY +VALUE\n[^]*\nmemory +640\n[^]*\ndisk +\S+[^\n]*\n {4}/, 'a list has a line for each');
    t.notMatch(table, 'hunter2');
    t.match(await ok('vm show domU -o yaml'), /\n {4}memory: "?640/);
    t.equal(await ok('vm show domU -o name'), 'domU@dom0-1\n');
  });

  await t.test("the console's last lines, harmless to a terminal", async (t) => {
    const lines = Array.from({ length: 12 }, (_, n) => `line ${String(n + 1)}`);
    const text = `${lines.join('\r\n')}\r\n\u001b]0;owned\u0007\u001b[31mred\u001b[2J\u001b[0m\r\nlogin: `;
    rig.writeLog('domU', text);
    const { consoleTail, notKnown } = await json();
    t.strictSame(consoleTail, [...lines.slice(4), 'red', 'login: ']);
    t.strictSame(notKnown, []);
    const table = await ok('vm show domU');
    t.match(table, /\n\nCONSOLE, its last lines\nline 5\n[^]*\nred\nlogin: \n$/);
    t.notMatch(table, '\u001b');
    const { out } = await rig.cli('vm show domU', { isTerminal: true });
    t.match(out, '\u001b[31mred', 'colours are welcome on a terminal');
    t.notMatch(out, /\u001b\[2J|\u001b\]0/);
  });

  await t.test('what went wrong with it', async (t) => {
    t.equal((await rig.cli('vm reboot domU')).exitCode, 5);
    t.equal((await rig.cli('vm autostart on domU')).exitCode, 5);
    t.equal((await rig.cli('vm reboot domU --dry-run')).exitCode, 5, 'what was only asked is none');
    const { lastErrors } = await json();
    t.match(lastErrors, [
      { kind: 'vm.failed', message: /^vm reboot of domU@dom0-1: .*stopped/, details: { code: 'wrong_state' } },
      { kind: 'vm.failed', message: /^vm autostart on of domU@dom0-1: .*no live lease/ },
    ]);
    t.match(await ok('vm show domU'), /\n\nLAST ERRORS +KIND +MESSAGE\n2\S+ \S+ +vm\.failed +vm reboot of/);
    t.strictSame((await json('vm show domU2 -o json')).lastErrors, [], 'the other one has none of it');
    for (let n = 0; n < 6; n += 1) await rig.cli('vm pause domU');
    t.equal((await json()).lastErrors.length, 5);
    t.match(await ok('event list --kind vm.failed --vm domU -o json'), /"verb": "pause"/);
  });

  await t.test('a cfg that xl would refuse hides nothing else', async (t) => {
    writeFileSync(join(dirname(cfgPath), 'domU2.cfg'), "name = 'domU2'\nmemory = \n");
    rig.writeLog('domU2', 'hello\n');
    await until(async () => (await ok('vm list')).includes('line 2'), 'the host tells of it');
    const { cfg, disks, notKnown, consoleTail } = await json('vm show domU2 -o json');
    t.equal(cfg, null);
    t.strictSame(disks, []);
    t.match(notKnown, [/^cfg: .*line 2/]);
    t.strictSame(consoleTail, ['hello']);
  });

  await t.test('of a host that is away: what is known, and that no more is', async (t) => {
    await rig.stopAgent();
    await until(async () => (await ok('vm list')).includes('last seen'), 'it is away');
    const shown = await json();
    t.match(shown, { cfg: null, disks: [], consoleTail: [], lastErrors: { length: 5 }, name: 'domU', stale: true });
    t.match(shown.notKnown, [/^cfg, disks and console: .*host dom0-1 is not online$/]);
    t.match(await ok('vm show domU'), /^Not known +cfg, disks and console: .*dom0-1 is not online$/m);
  });
});
