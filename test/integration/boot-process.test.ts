import { execFileSync, spawn } from 'node:child_process';
import { cpSync, existsSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import t from 'tap';
import { listVifs } from '../../agent/domain/xl-cfg/vif.js';
import { parseXlCfg } from '../../agent/domain/xl-cfg/xl-cfg.js';
import { EXIT_CODE } from '../../shared/exit-code.js';

const ROOT = join(import.meta.dirname, '..', '..');
const root = t.testdir({ kill: { xen: {} }, units: {}, host: { xen: { auto: {} }, save: { vm: 'memory' } } });

interface Outcome {
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

interface BuildModule {
  readonly buildAll: (options: object) => Promise<{ readonly agent: { readonly path: string } }>;
}

function run(program: string, args: readonly string[], killAfterMs?: number): Promise<Outcome> {
  const child = spawn(process.execPath, [program, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const timer = killAfterMs === undefined ? undefined : setTimeout(() => child.kill('SIGKILL'), killAfterMs);
  return new Promise((resolve) => {
    child.on('close', (exitCode) => {
      clearTimeout(timer);
      resolve({ exitCode, stdout, stderr });
    });
  });
}

t.test('domherd-agent boot', async (t) => {
  const { buildAll } = (await import(pathToFileURL(join(ROOT, 'deploy', 'build.mjs')).href)) as BuildModule;
  const { path: program } = (await buildAll({ only: ['agent'], outRoot: root })).agent;

  t.test('works anywhere, tells all, and release undoes the gate', async (t) => {
    const home = join(root, 'host');
    const [xen, state] = [join(home, 'xen'), join(home, 'state')];
    const places = ['--xen-dir', xen, '--state-dir', state];
    const args = ['boot', ...places, '--save-dir', join(home, 'save'), '-o', 'json'];
    writeFileSync(join(xen, 'domU.cfg'), `name = 'domU'\nvif = [ 'mac=00:16:3e:00:00:01, bridge=eth0', '' ]\n`);
    writeFileSync(join(xen, 'old.cfg'), `import os\nname = 'x' + os.name\n`);
    symlinkSync('../domU.cfg', join(xen, 'auto', 'domU.cfg'));
    const first = await run(program, args);
    t.match(first, { exitCode: 0, stderr: '' });
    const records = JSON.parse(first.stdout) as readonly { readonly kind: string; readonly new?: string }[];
    t.strictSame(
      records.map(({ kind }) => kind),
      ['vif', 'vif', 'refused', 'held', 'held'],
    );
    t.match(
      readFileSync(join(xen, 'domU.cfg'), 'utf8'),
      `'mac=${records[0]?.new}, bridge=eth0', 'mac=${records[1]?.new}' ]`,
    );
    t.strictSame(readdirSync(join(xen, 'auto')), []);

    const again = await run(program, ['boot', ...places]);
    t.match(again, { exitCode: 0, stdout: /^2 vifs: 0 new MACs, 2 kept; 1 file refused, 0 held back$/m });
    writeFileSync(join(home, 'save', 'vm'), 'another');
    const released = await run(program, ['release', ...places]);
    t.match(released, { exitCode: EXIT_CODE.partial, stdout: /auto\/domU\.cfg: back\n[^]*save\/vm: still held/ });
    t.ok(existsSync(join(xen, 'auto', 'domU.cfg')));
    t.equal(readFileSync(join(home, 'save', 'vm'), 'utf8'), 'another');
    const bad = await run(program, ['boot', ...places, '--policy', 'never']);
    t.match(bad, { exitCode: EXIT_CODE.invalid, stderr: /every-boot/ });
    const none = await run(program, ['boot', '--xen-dir', join(home, 'none'), '--state-dir', state]);
    t.match(none, { exitCode: 0, stdout: /^0 vifs/m });
    const file = await run(program, ['boot', '--xen-dir', join(xen, 'domU.cfg'), '--state-dir', state]);
    t.match(file, { exitCode: EXIT_CODE.unavailable, stderr: /cannot be read/ });
  });

  t.test('killed at any time, every file is whole, and the next run ends the work', async (t) => {
    const xen = join(root, 'kill', 'xen');
    const args = ['boot', '--xen-dir', xen, '--state-dir', join(root, 'kill', 'state'), '--policy', 'every-boot'];
    const names = Array.from({ length: 400 }, (_, n) => `vm${n}.cfg`);
    const textOf = (mac: string): string => `# mac=00:16:3e:00:00:01\nvif = [ 'mac=${mac}', 'bridge=br0' ]\n`;
    for (const name of names) writeFileSync(join(xen, name), textOf('00:16:3e:00:00:01'));
    const isWhole = (text: string): boolean =>
      /^# mac=00:16:3e:00:00:01\nvif = \[ 'mac=00:16:3e:[\da-f:]{8}', 'bridge=br0(,mac=00:16:3e:[\da-f:]{8})?' \]\n$/.test(
        text,
      );
    const whole = await run(program, [...args.slice(0, -2), '--dry-run']);
    t.equal(whole.exitCode, 0);
    const startedMs = performance.now();
    await run(program, args);
    const tookMs = performance.now() - startedMs;
    let killed = 0;
    for (let n = 1; n <= 10; n += 1) {
      const { exitCode } = await run(program, args, (tookMs * (n + 4)) / 15);
      if (exitCode === null) killed += 1;
      const broken = names.filter((name) => !isWhole(readFileSync(join(xen, name), 'utf8')));
      t.strictSame(broken, []);
    }
    t.ok(killed >= 3, `${killed} of 10 runs were cut short`);
    t.equal((await run(program, args)).exitCode, 0);
    t.strictSame(readdirSync(xen).sort(), names.toSorted(), 'nothing is left over');
    const macs = names.flatMap((name) => listVifs(parseXlCfg(readFileSync(join(xen, name), 'latin1'))));
    t.equal(new Set(macs.map(({ macAsXlReads }) => macAsXlReads)).size, 2 * names.length);
  });
});

t.test('the units of the gate are what systemd reads', (t) => {
  const folder = join(root, 'units');
  cpSync(join(ROOT, 'deploy', 'systemd'), folder, { recursive: true });
  // The programs are not installed here, and xendomains is Xen's.
  const unit = readFileSync(join(folder, 'domherd-boot.service'), 'utf8');
  t.match(unit, /^ExecStart=\/usr\/bin\/domherd-agent boot /m);
  writeFileSync(join(folder, 'domherd-boot.service'), unit.replace('/usr/bin/domherd-agent', '/bin/true'));
  writeFileSync(join(folder, 'xendomains.service'), '[Service]\nType=oneshot\nExecStart=/bin/true\n');
  const paths = ['domherd-boot.service', 'xendomains.service'].map((name) => join(folder, name));
  const verify = (): string => {
    const env = { ...process.env, SYSTEMD_UNIT_PATH: `${folder}:`, LC_ALL: 'C' };
    try {
      return execFileSync('systemd-analyze', ['verify', '--man=no', ...paths], { env, stdio: 'pipe' }).toString();
    } catch (error) {
      return String((error as { stderr?: Buffer }).stderr ?? error);
    }
  };
  t.equal(verify(), '');
  const gate = readFileSync(join(folder, 'xendomains.service.d', 'domherd.conf'), 'utf8');
  const done = /^ExecStartPost=\/bin\/touch (.*)$/m.exec(unit)?.[1];
  t.match(gate, `AssertPathExists=${done}\n`, 'xendomains looks for what the boot step leaves');
  t.match(unit, `ExecStartPre=/bin/rm -f ${done}\n`);
  t.match(gate, /^After=domherd-boot\.service$/m);
  t.notMatch(gate, /^(Requires|BindsTo|PartOf)=/m, 'stopping the boot step stops no domU');
  writeFileSync(join(folder, 'domherd-boot.service'), unit);
  t.match(verify(), /not executable/, 'what is wrong would be seen');
  t.end();
});
