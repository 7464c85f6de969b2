import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { closeSync, existsSync, openSync, readdirSync, readFileSync, readSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Metafile } from 'esbuild';
import t, { type Test } from 'tap';
import { EXIT_CODE } from '../../shared/exit-code.js';
import { VmState } from '../../shared/gen/domherd/v1/vm.js';
import { TestController } from './agent-test-controller.js';

interface Built {
  readonly path: string;
  readonly metafile: Metafile;
}

interface BuildModule {
  readonly buildAll: (options: {
    only: readonly string[];
    outRoot: string;
  }) => Promise<Readonly<Record<string, Built>>>;
}

interface ArtefactModule {
  readonly buildArtefact: (options: { outRoot: string }) => Promise<{ readonly path: string }>;
}

interface Outcome {
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

const ROOT = join(import.meta.dirname, '..', '..');
const root = t.testdir({ controller: {} });

function start(program: string, args: readonly string[]): { child: ChildProcess; ended: Promise<Outcome> } {
  // On a dom0 there is no native module to load.
  const child = spawn(process.execPath, ['--no-addons', program, ...args], { stdio: ['pipe', 'pipe', 'pipe'] });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const ended = new Promise<Outcome>((resolve) => {
    child.on('close', (exitCode) => resolve({ exitCode, stdout, stderr }));
  });
  return { child, ended };
}

function run(program: string, args: readonly string[], input = ''): Promise<Outcome> {
  const { child, ended } = start(program, args);
  child.stdin?.end(input);
  return ended;
}

function startAgent(t: Test, program: string, args: readonly string[]): ReturnType<typeof start> {
  const agent = start(program, args);
  t.teardown(async () => {
    agent.child.kill('SIGKILL');
    await agent.ended;
  });
  return agent;
}

function importDeploy(file: string): Promise<unknown> {
  return import(pathToFileURL(join(ROOT, 'deploy', file)).href);
}

function isElf(path: string): boolean {
  const file = openSync(path, 'r');
  const head = Buffer.alloc(4);
  readSync(file, head);
  closeSync(file);
  return head.toString('latin1') === '\u007fELF';
}

t.test('the built agent', async (t) => {
  const { buildAll } = (await importDeploy('build.mjs')) as BuildModule;
  const { agent: built } = await buildAll({ only: ['agent'], outRoot: root });
  if (built === undefined) throw new Error('no agent was built');
  const program = built.path;
  const stateDir = join(root, 'agent');
  const host = ['--state-dir', stateDir, '--toolstack', 'sim', '--sim', 'vms=2', '--sim', 'boot-ms=20'];

  t.test('is one file that brings everything but the database', (t) => {
    const inputs = Object.keys(built.metafile.inputs);
    t.ok(inputs.some((input) => input.includes('@grpc/grpc-js')));
    t.strictSame(
      inputs.filter((input) => /better-sqlite3|^controller\//.test(input)),
      [],
    );
    const outputs = Object.entries(built.metafile.outputs).filter(([path]) => path.endsWith('.mjs'));
    t.equal(outputs.length, 1);
    const external = outputs.flatMap(([, output]) => output.imports.filter((one) => one.external));
    const packages = external.map((one) => one.path).filter((path) => !isBuiltin(path));
    // What systeminformation would load on a Mac.
    const missing = packages.filter((path) => !/^(osx|macos)-temperature-sensor$/.test(path));
    t.strictSame(missing, [], 'only modules of Node itself are left outside');
    t.match(readFileSync(program, 'utf8'), /^#!\/usr\/bin\/env node\n/);
    t.ok(existsSync(`${program}.map`));
    t.end();
  });

  t.test('goes to a dom0 in an archive without a native module', async (t) => {
    const { buildArtefact } = (await importDeploy('artefact.mjs')) as ArtefactModule;
    const { path: archive } = await buildArtefact({ outRoot: root });
    const folder = t.testdir();
    execFileSync('tar', ['-xizf', archive, '-C', folder]);
    const files = readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => !entry.isDirectory())
      .map((entry) => relative(folder, join(entry.parentPath, entry.name)));
    t.strictSame(
      files.filter((path) => /\.node$|better-sqlite3|node_modules/.test(path)),
      [],
    );
    t.strictSame(
      files.filter((path) => isElf(join(folder, path))),
      ['bin/node'],
      'Node is the only machine code, under whatever name',
    );
    const bundle = readFileSync(join(folder, 'domherd-agent.mjs'), 'utf8');
    t.equal(bundle, readFileSync(program, 'utf8'));
    t.strictSame(bundle.match(/better-sqlite3|\.node["'`]|\bdlopen\b/g), null, 'and asks for none');
  });

  t.test('refuses what it cannot do, by exit code and with what to do', async (t) => {
    const cases: { name: string; args: string[]; input?: string; exitCode: number; says: RegExp }[] = [
      {
        name: 'no Xen',
        args: ['run', '--state-dir', join(root, 'no-xen')],
        exitCode: 5,
        says: /no Xen dom0[^]*--toolstack sim/,
      },
      { name: 'another one', args: ['run', '--toolstack', 'kvm'], exitCode: 2, says: /Allowed choices are xl, sim/ },
      { name: 'not joined', args: ['run', ...host], exitCode: 5, says: /domherd host token/ },
      {
        name: 'unknown option',
        args: ['run', ...host, '--sim', 'x=1'],
        exitCode: 2,
        says: /vms, boot-ms, copy-ms, seed/,
      },
      { name: 'no token', args: ['join', ...host], exitCode: 2, says: /no token on the input/ },
      { name: 'unknown command', args: ['jion'], exitCode: 2, says: /jion/ },
      { name: 'version', args: ['--version'], exitCode: 0, says: /^\d+\.\d+\.\d+\n$/ },
      { name: 'status', args: ['status', '--state-dir', stateDir], exitCode: 0, says: /not joined/ },
    ];
    const outcomes = await Promise.all(cases.map((c) => run(program, c.args, c.input)));
    for (const [n, c] of cases.entries()) {
      const outcome = outcomes[n];
      t.equal(outcome?.exitCode, c.exitCode, c.name);
      t.match(`${outcome?.stdout ?? ''}${outcome?.stderr ?? ''}`, c.says, c.name);
    }
  });

  t.test('joins, is killed, comes again, ends: its domains do not notice', async (t) => {
    const controller = await TestController.start(join(root, 'controller'));
    t.teardown(() => controller.stop());
    const joined = await run(program, ['join', '--host', 'dom0-1', ...host], `${controller.token()}\n`);
    t.match(joined, { exitCode: 0, stdout: /joined as dom0-1 \(simulated\)/ });

    const first = startAgent(t, program, ['run', ...host]);
    const session = await controller.session(1);
    const key = join(stateDir, 'sim', 'xen', 'domU.cfg');
    const { vm } = await session.order('s', key, { $case: 'start', value: {} });
    const status = await run(program, ['status', '--state-dir', stateDir]);
    t.match(status.stdout, /host +dom0-1\n[^]*toolstack +simulated[^]*session +open since/);

    const counter = (): string => readFileSync(join(stateDir, 'session-counter'), 'utf8');
    const countBefore = counter();
    const twin = await run(program, ['run', '--state-dir', `${stateDir}/../agent/`, ...host.slice(2)]);
    t.equal(twin.exitCode, EXIT_CODE.unavailable, 'a second one on the same folder, however it is spelt, is refused');
    t.match(twin.stderr, new RegExp(`already: process ${String(first.child.pid)}\\n[^]*--state-dir`));
    t.equal(counter(), countBefore, 'before it did anything');
    first.child.kill('SIGSTOP');
    const blind = await run(program, ['run', ...host]);
    t.equal(blind.exitCode, EXIT_CODE.unavailable, 'also while the first one is stopped and cannot say its pid');
    t.match(blind.stderr, /does not answer\n[^]*pgrep/);
    first.child.kill('SIGKILL');
    await first.ended;

    const second = startAgent(t, program, ['run', ...host]);
    const again = await controller.session(2);
    t.equal(controller.sessions.length, 2, 'the refused ones opened no session; what was killed blocks nobody');
    const vms = await again.wait((one) => (one.$case === 'fullState' ? one.value.vms : undefined));
    const found = vms.find((one) => one.name === 'domU');
    t.equal(found?.uuid, vm?.uuid);
    t.not(found?.state, VmState.STOPPED);

    const beforeMs = Date.now();
    second.child.kill('SIGTERM');
    const ended = await second.ended;
    t.equal(ended.exitCode, 0);
    t.ok(Date.now() - beforeMs < 10_000);
    t.match(ended.stderr, /SIMULATED toolstack/);
    t.match(ended.stderr, /"simulated":true[^]*"session open"[^]*"agent stopped"/);
    t.notMatch(ended.stderr, /PRIVATE KEY/);
    const after = await run(program, ['status', '--state-dir', stateDir]);
    t.match(after.stdout, /agent +does not run/);
  });
});
