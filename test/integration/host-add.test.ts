import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { parseAnswer } from '../../controller/cli/dom0/answer.js';
import { parseProbe } from '../../controller/cli/dom0/probe.js';
import { PROBE, scriptText } from '../../controller/cli/dom0/script.js';
import { EXIT_CODE } from '../../shared/exit-code.js';
import { Dom0Jail, makeSshKey } from '../harness/dom0-jail.js';
import { Fleet, type CommandResult } from '../harness/fleet.js';

// host add, upgrade and remove over a real sshd, with the real archive and the real agent, against a real controller.

const fleet = new Fleet();
const key = makeSshKey(join(fleet.folder, 'id'));
const sshConfig = join(fleet.folder, 'ssh_config');
const jails: Dom0Jail[] = [];
t.teardown(async () => {
  endKeeper();
  for (const jail of jails) await jail.stop();
  await fleet.stop();
});

/** A test that fails half way leaves one. */
function endKeeper(): void {
  const path = join(fleet.folder, 'cli', 'ssh', 'tunnel.pid');
  if (existsSync(path)) process.kill(Number(readFileSync(path, 'utf8')), 'SIGINT');
}

async function startJail(name: string, agentOptions?: string, isConnected = true): Promise<Dom0Jail> {
  const folder = join(fleet.folder, `jail-${name}`);
  mkdirSync(folder);
  const jail = await Dom0Jail.start(folder, name, key, agentOptions, isConnected);
  writeFileSync(jail.path('default', 'xen'), DEFAULT_XEN);
  mkdirSync(jail.path('log', 'xen'));
  jails.push(jail);
  writeConfig();
  return jail;
}

/** As Debian's package has it. */
const DEFAULT_XEN =
  '# Log xenconsoled messages (cf xl dmesg)\n#XENCONSOLED_TRACE=[none|guest|hv|all]\n\nXENSTORED_ARGS=\n';

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

  await t.test('what consoles say is logged from the next boot on, whatever else is set', (t) => {
    const sourced = (before = ''): string =>
      execFileSync('sh', ['-c', `${before} . ${one.path('default', 'xen')}; echo $XENCONSOLED_ARGS`]).toString();
    t.equal(sourced(), '--log=guest\n');
    t.equal(sourced('XENCONSOLED_ARGS=-v;'), '-v --log=guest\n');
    t.ok(existsSync(one.path('log', 'xen', 'console')));
    t.end();
  });

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

t.test('another host key is told, with what it means, and taken when the user says so', async (t) => {
  const jail = jails[0]!;
  await jail.stop();
  jail.newHostKey();
  await jail.boot();
  const refused = await add(['dom0-1']);
  t.equal(refused.exitCode, EXIT_CODE.unauthenticated, refused.stderr);
  t.match(refused.stderr, /shows another host key[^]*hint: [^]*deployed dom0-1 anew[^]*--accept-new-host-key/);
  t.match(await add(['dom0-1', '--accept-new-host-key']), { exitCode: 0, stdout: /restarted/ });

  await t.test('of another job of the testbed it is taken by itself', async (t) => {
    t.match(await add(['dom0-1'], { OAR_JOB_ID: '41' }), { exitCode: 0 });
    await jail.stop();
    jail.newHostKey();
    await jail.boot();
    t.equal((await add(['dom0-1'], { OAR_JOB_ID: '41' })).exitCode, EXIT_CODE.unauthenticated, 'the same job');
    t.match(await add(['dom0-1'], { OAR_JOB_ID: '42' }), { exitCode: 0 });
  });
});

t.test('what stands against it is told before anything is changed', async (t) => {
  const bare = await startJail('dom0-4', '');
  const before = bare.files();
  const refused = await add(['dom0-4', 'dom0-unknown.invalid']);
  t.equal(refused.exitCode, EXIT_CODE.partial);
  t.match(refused.stderr, /dom0-4: wrong_state: dom0-4 was not booted under Xen/);
  t.match(refused.stderr, /dom0-unknown.invalid: not_found: there is no host/);
  t.strictSame(bare.files(), before);

  writeFileSync(
    sshConfig,
    jails.map((jail) => jail.sshConfig().replace(/IdentityFile .*/, 'IdentityFile none')).join('\n'),
  );
  const stranger = await add(['dom0-4']);
  t.match(stranger, { exitCode: EXIT_CODE.unauthenticated, stderr: /does not let your ssh keys in[^]*kadeploy3 -k/ });
  writeConfig();
  t.match(await add(['--file', '/nonexistent']), { exitCode: EXIT_CODE.not_found, stderr: /OAR_NODE_FILE/ });
  t.match(await add([]), { exitCode: EXIT_CODE.invalid, stderr: /no node was given/ });
});

t.test('hosts are upgraded', async (t) => {
  const jail = jails[1]!;
  const artefact = otherArtefact(join(fleet.folder, 'other'));
  const before = readlinkSync(jail.path('opt', 'domherd', 'current'));
  const upgraded = await domherd(['host', 'upgrade', 'dom0-2', '--artefact', artefact]);
  t.match(upgraded, { exitCode: 0, stdout: /dom0-2 +upgraded +0\.1\.1\+00000001/ }, upgraded.stderr);
  t.match(upgraded.stderr, /Node \S+ is there/, 'what it has already is not sent again');
  t.match((await domherd(['host', 'show', 'dom0-2'])).stdout, /Agent +0\.1\.1\+00000001/);
  t.strictSame(readdirSync(jail.path('opt', 'domherd')).sort(), [before, '0.1.1+00000001', 'current'].sort());
  const all = await domherd(['host', 'upgrade', '--all', '-o', 'json']);
  const rows = JSON.parse(all.stdout) as { host: string; result: string }[];
  t.strictSame(
    rows.map(({ host, result }) => `${host} ${result}`),
    ['dom0-1 unchanged', 'dom0-2 upgraded', 'dom0-3 unchanged'],
    'back to the present one',
  );
});

t.test('hosts are removed', async (t) => {
  const jail = jails[2]!;
  const untouched = (await startJail('dom0-5')).files();
  await domherd(['reservation', 'import', '--name', 'r', '--ends', '+2h', subnetsFile()]);
  const address = (await domherd(['vm', 'address', 'domU@dom0-3', '-o', 'ips'])).stdout.trim();
  t.match(address, /^10\./);
  t.equal((await domherd(['vm', 'start', 'domU@dom0-3'])).exitCode, 0);

  const refused = await domherd(['host', 'remove', 'dom0-3', '--yes']);
  t.equal(refused.exitCode, EXIT_CODE.wrong_state);
  t.match(refused.stderr, /domU@dom0-3[^]*hint: stop them: domherd vm shutdown domU@dom0-3/);
  t.ok(jail.agentPid(), 'nothing was changed');
  t.match(await domherd(['host', 'remove', 'dom0-3']), { exitCode: EXIT_CODE.invalid, stderr: /--yes/ });
  t.match(await domherd(['host', 'remove', 'dom0-3', '--dry-run', '--force']), { exitCode: 0, stdout: address });

  const removed = await domherd(['host', 'remove', 'dom0-3', '--yes', '--force']);
  t.match(removed, { exitCode: 0, stdout: /dom0-3 +removed/ }, removed.stderr);
  t.strictSame(jail.files(), untouched, 'the dom0 is as it was found');
  t.equal(readFileSync(jail.path('default', 'xen'), 'utf8'), DEFAULT_XEN);
  t.match((await domherd(['lease', 'list'])).stdout, new RegExp(`${address}.*quarantined`));
  t.match(
    (await domherd(['event', 'list', '--kind', 'host.removed'])).stdout,
    /dom0-3 was removed by force: 1 address rests/,
  );
  t.equal((await domherd(['host', 'list', '-o', 'name'])).stdout, 'dom0-1\ndom0-2\n');
  t.match(await domherd(['host', 'remove', 'dom0-3', '--yes']), { exitCode: EXIT_CODE.not_found }, 'once is enough');

  await t.test('one that is out of reach is forgotten, if the user says so', async (t) => {
    await jails[1]!.stop();
    const out = await domherd(['host', 'remove', 'dom0-2', '--yes']);
    t.match(out, { exitCode: EXIT_CODE.unavailable, stderr: /hint: .*host remove dom0-2 --forget/ });
    t.match(await domherd(['host', 'remove', 'dom0-2', '--yes', '--forget']), { exitCode: 0, stdout: /forgotten/ });
    t.equal((await domherd(['host', 'list', '-o', 'name'])).stdout, 'dom0-1\n');
  });

  await t.test('a host that was removed may come again', async (t) => {
    t.match(await add(['dom0-3']), { exitCode: 0, stdout: /joined/ });
  });
});

t.test('a site that lets nobody dial back is met by a tunnel over ssh', async (t) => {
  const jail = await startJail('dom0-6', undefined, false);
  const refused = await add(['dom0-6']);
  t.match(refused, {
    exitCode: EXIT_CODE.unavailable,
    stderr: /cannot reach the controller at 127\.0\.0\.1:\d+[^]*--via ssh/,
  });
  const added = await add(['dom0-6', '--via', 'ssh']);
  t.match(added, { exitCode: 0, stdout: /dom0-6 +joined/ }, added.stderr);
  t.match((await domherd(['host', 'show', 'dom0-6'])).stdout, /Dials +by ssh: up since/);
  t.match((await domherd(['host', 'list'])).stdout, /dom0-6 +online.* ssh /);
  const keeper = readFileSync(join(fleet.folder, 'cli', 'ssh', 'tunnel.pid'), 'utf8');

  await t.test('which comes again by itself when it breaks', async (t) => {
    await jail.stop();
    await jail.boot();
    writeConfig();
    const again = await add(['dom0-6']);
    t.match(again, { exitCode: 0, stdout: /dom0-6 +restarted/ }, again.stderr);
    t.equal(readFileSync(join(fleet.folder, 'cli', 'ssh', 'tunnel.pid'), 'utf8'), keeper, 'kept by the same process');
  });

  await t.test('and ends with the host', async (t) => {
    t.match(await domherd(['host', 'remove', 'dom0-6', '--yes']), { exitCode: 0, stdout: /removed/ });
    const endMs = Date.now() + 20_000;
    while (existsSync(`/proc/${keeper}`) && Date.now() < endMs) await new Promise((resolve) => setTimeout(resolve, 50));
    t.notOk(existsSync(`/proc/${keeper}`), 'nobody needs the process that kept it');
    t.strictSame(
      readdirSync(join(fleet.folder, 'cli', 'ssh')).filter((name) => /dom0-6|pid/.test(name)),
      [],
    );
  });
});

t.test('of ten at once, one that fails leaves nine joined', async (t) => {
  for (const jail of jails.splice(0)) await jail.stop();
  const names = Array.from({ length: 9 }, (_, n) => `node-${String(n + 1)}`);
  for (const name of names) await startJail(name);
  const added = await add([...names.slice(0, 4), 'dom0-off', ...names.slice(4), '-o', 'json']);
  t.equal(added.exitCode, EXIT_CODE.partial, added.stderr);
  const rows = JSON.parse(added.stdout) as { host: string; result: string | null; errorCode: string | null }[];
  const failed = rows.filter(({ errorCode }) => errorCode !== null);
  t.match(failed, [{ host: 'dom0-off', result: null, errorCode: 'unavailable' }]);
  t.strictSame(
    rows.filter(({ result }) => result === 'joined').map(({ host }) => host),
    names,
  );
  const list = JSON.parse((await domherd(['host', 'list', '-o', 'json'])).stdout) as { name: string; state: string }[];
  t.strictSame(
    list.filter(({ name, state }) => name.startsWith('node-') && state === 'online').map(({ name }) => name),
    names,
    'each has its session',
  );
});

t.test('a name server that is silent is not taken for a firewall', (t) => {
  const resolver = join(fleet.folder, 'resolv.conf');
  writeFileSync(resolver, 'nameserver 192.0.2.1\n');
  // Whatever goes to these two vanishes.
  const silent = ['192.0.2.1', '192.0.2.2'].map((ip) => `ip neigh add ${ip} lladdr 02:00:00:00:00:01 dev void`);
  const site = [
    ...['set -e', `mount --bind ${resolver} /etc/resolv.conf`, 'ip link set lo up'],
    ...['ip link add void type veth peer name sink', 'ip link set sink up', 'ip link set void up'],
    ...['ip address add 192.0.2.9/24 dev void', ...silent, 'exec bash --norc --noprofile -s'],
  ].join('; ');
  const values = { dials: ['session frontend.site 7433', 'join 192.0.2.2 7434'] };
  const input = scriptText(PROBE, values);
  const said = execFileSync('unshare', ['--mount', '--net', 'bash', '-c', site], { input }).toString();
  t.match(parseProbe(parseAnswer(said)).dials, [{ outcome: 'unknown-name' }, { outcome: 'timeout' }]);
  t.end();
});

function subnetsFile(): string {
  const path = join(fleet.folder, 'subnets');
  writeFileSync(
    path,
    '10.180.0.0/22\t10.183.255.255\t255.252.0.0\t10.183.255.254\t10.180.0.0\tdns.site\t172.16.16.247\n',
  );
  return path;
}

/** The present archive as another version: the same Node, and an agent that differs by its name. */
function otherArtefact(folder: string): string {
  const dist = join(process.cwd(), 'dist', 'agent');
  const facts = JSON.parse(readFileSync(join(dist, 'artefact.json'), 'utf8')) as Record<string, string | number>;
  const version = '0.1.1+00000001';
  mkdirSync(join(folder, 'files'), { recursive: true });
  const archive = readFileSync(join(dist, String(facts['file'])));
  const agent = archive.subarray(0, Number(facts['agentBytes']));
  execFileSync('tar', ['-xzf', '-', '-C', join(folder, 'files')], { input: agent });
  const wrapper = join(folder, 'files', 'bin', 'domherd-agent');
  writeFileSync(wrapper, readFileSync(wrapper, 'utf8').replaceAll(String(facts['version']), version));
  const packed = execFileSync('tar', ['-czf', '-', '-C', join(folder, 'files'), '.']);
  const whole = Buffer.concat([packed, archive.subarray(Number(facts['agentBytes']))]);
  writeFileSync(join(folder, 'other.tar.gz'), whole);
  const other = { ...facts, version, file: 'other.tar.gz', bytes: whole.length, agentBytes: packed.length };
  writeFileSync(join(folder, 'artefact.json'), JSON.stringify(other));
  return join(folder, 'artefact.json');
}
