import { mkdirSync, writeFileSync } from 'node:fs';
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
  console.error(added);
});
