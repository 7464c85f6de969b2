import { mkdirSync, readFileSync, readlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { EXIT_CODE } from '../../shared/exit-code.js';
import { Dom0Jail, makeSshKey } from '../harness/dom0-jail.js';
import { Fleet, type CommandResult } from '../harness/fleet.js';

// host add, upgrade and remove over a real sshd, with the real archive and the real agent, against a real controller.

const fleet = new Fleet();
const key = makeSshKey(join(fleet.folder, 'id'));
const sshConfig = join(fleet.folder, 'ssh_config');
const jails: Dom0Jail[] = [];
t.teardown(async () => {
  for (const jail of jails) await jail.stop();
  await fleet.stop();
});

async function startJail(name: string, agentOptions?: string): Promise<Dom0Jail> {
  const folder = join(fleet.folder, `jail-${name}`);
  mkdirSync(folder);
  const jail = await Dom0Jail.start(folder, name, key, agentOptions);
  jails.push(jail);
  writeConfig();
  return jail;
}

/** dom0-off is a host where nothing listens. */
function writeConfig(): void {
  const off = 'Host dom0-off\n  HostName 127.0.0.1\n  Port 1\n';
  writeFileSync(sshConfig, [...jails.map((jail) => jail.sshConfig()), off].join('\n'));
}

function domherd(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<CommandResult> {
  return fleet.domherd(args, '', { DOMHERD_DATA_DIR: join(fleet.folder, 'cli'), OAR_JOB_ID: '', ...env });
}

const add = (args: readonly string[], env?: NodeJS.ProcessEnv): Promise<CommandResult> =>
  domherd(['host', 'add', '--ssh-config', sshConfig, ...args], env);

t.test('hosts are added over ssh', async (t) => {
  await fleet.startController();
  const one = await startJail('dom0-1');
  const before = one.files();

  const dry = await add(['dom0-1', '--dry-run']);
  t.match(dry, { exitCode: 0, stdout: /copy[^]*activate[^]*join[^]*start[^]*wait/ });
  t.strictSame(one.files(), before, 'a dry run changes nothing');

  const added = await add(['dom0-1']);
  t.match(added, { exitCode: 0, stdout: /dom0-1 +joined +\d/ }, added.stderr);
  const shown = await domherd(['host', 'show', 'dom0-1']);
  const version = readlinkSync(one.path('opt', 'domherd', 'current'));
  t.match(shown.stdout, /State +online/);
  t.match(shown.stdout, `Agent              ${version}`, 'the controller is told what runs, with its content');
  const said = added.stdout + added.stderr;
  t.notMatch(said, /dh1\./, 'the token is shown nowhere');

  await t.test('repeating it changes nothing', async (t) => {
    const pid = one.agentPid();
    t.match(await add(['dom0-1']), { exitCode: 0, stdout: /dom0-1 +unchanged/ });
    t.equal(one.agentPid(), pid, 'the agent was not even restarted');
  });

  await t.test('repeating it repairs what was broken', async (t) => {
    const identity = readlinkSync(one.path('lib', 'domherd-agent', 'identity'));
    unlinkSync(one.path('opt', 'domherd', 'current'));
    writeFileSync(one.path('units', 'domherd-agent.service'), 'spoilt');
    t.match(await add(['dom0-1']), { exitCode: 0, stdout: /dom0-1 +upgraded/ });
    t.equal(readlinkSync(one.path('opt', 'domherd', 'current')), version);
    t.match(readFileSync(one.path('units', 'domherd-agent.service'), 'utf8'), /ExecStart=\/opt\/domherd\/current\//);
    t.equal(readlinkSync(one.path('lib', 'domherd-agent', 'identity')), identity, 'with the identity that it had');
  });
});

t.test('of several, one fails and the others join', async (t) => {
  const names = ['dom0-2', 'dom0-3'];
  for (const name of names) await startJail(name);
  const file = join(fleet.folder, 'nodes');
  writeFileSync(file, `# a node for each core\n${names.join('\n')}\n\ndom0-off\n${names.join('\n')}\n`);
  const added = await add(['--file', file, '-o', 'json']);
  t.equal(added.exitCode, EXIT_CODE.partial, added.stderr);
  const rows = JSON.parse(added.stdout) as { host: string; result: string | null; errorCode: string | null }[];
  t.strictSame(
    rows.map(({ host, result, errorCode }) => [host, result, errorCode]),
    [
      ['dom0-2', 'joined', null],
      ['dom0-3', 'joined', null],
      ['dom0-off', null, 'unavailable'],
    ],
  );
  t.match(added.stderr, /dom0-off: unavailable: dom0-off refuses ssh[^]*hint: is its deployment over/);
  const list = await domherd(['host', 'list', '-o', 'name']);
  t.equal(list.stdout, 'dom0-1\ndom0-2\ndom0-3\n');
});
