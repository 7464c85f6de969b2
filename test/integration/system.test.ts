import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import tls from 'node:tls';
import Driver from 'better-sqlite3';
import t from 'tap';
import { HealthService } from '../../shared/gen/grpc/health/v1/health.js';
import { SERVER_NAME } from '../../shared/grpc/server-name.js';
import type { CliRun } from '../fakes/cli-run.js';
import { ALL_METHODS, connect, statusOfCall, tlsCredentials } from '../fakes/grpc-client.js';
import { FleetCli, until } from '../harness/fleet-cli.js';

// The built programs together: who gets in, what a restart leaves, and what the controller will not serve. The subtests
// build on one another.

const HOSTS = ['dom0-1', 'dom0-2'];
const VMS = 4;

const cli = new FleetCli();
t.teardown(() => cli.fleet.stop());
t.before(async () => {
  await cli.start(HOSTS, VMS / HOSTS.length);
  await cli.ok('reservation import - --name job42 --ends +8h', { stdin: '10.180.0.0/22' });
  await cli.ok('vm address --all');
  await cli.ok('vm start --all');
  await cli.ok('vm wait --all --for running');
});

async function runningVms(): Promise<number> {
  return (await cli.rows('vm list')).filter(({ state }) => state === 'running').length;
}

/** Protocol of a handshake with one of the TCP listeners; the code of the failure if there is none. */
function handshake(address: string, version: 'TLSv1.2' | 'TLSv1.3'): Promise<string> {
  const [host = '', port = ''] = address.split(':');
  const ca = readFileSync(join(cli.fleet.dataDir, 'ca.crt'));
  return new Promise((resolve) => {
    const options = { host, port: Number(port), ca, servername: SERVER_NAME, minVersion: version, maxVersion: version };
    const socket = tls.connect({ ...options, ALPNProtocols: ['h2'] }, () => {
      resolve(socket.getProtocol() ?? '');
      socket.destroy();
    });
    socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
  });
}

t.test('over TCP', async (t) => {
  const identity = join(cli.fleet.folder, 'notebook');
  const { listen, joinListen } = cli.fleet.endpoints;
  await cli.ok(`certificate issue notebook --out ${identity}`);
  const remote = `--controller ${listen} --identity ${identity}`;
  t.equal(await cli.ok(`reservation list -o name ${remote}`), 'job42\n', 'a certificate is let in');

  for (const address of [listen, joinListen]) {
    t.equal(await handshake(address, 'TLSv1.3'), 'TLSv1.3', address);
    t.match(await handshake(address, 'TLSv1.2'), /PROTOCOL_VERSION/, 'nothing older than TLS 1.3');
  }
  const pem = (name: string): string => readFileSync(join(identity, `${name}.pem`), 'utf8');
  const check = ALL_METHODS.find(({ path }) => path === HealthService.check.path);
  if (check === undefined) throw new Error('no health check');
  const clients = {
    socket: connect(`unix:${cli.fleet.socket}`),
    listen: connect(listen, tlsCredentials(pem('ca'), pem('key'), pem('cert'))),
    join: connect(joinListen, tlsCredentials(pem('ca'))),
    stranger: connect(listen, tlsCredentials(pem('ca'))),
  };
  for (const name of ['socket', 'listen'] as const) {
    t.equal(await statusOfCall(clients[name], check), 'OK', `${name} is healthy`);
  }
  t.equal(await statusOfCall(clients.join, check), 'UNIMPLEMENTED', 'there is nothing but Join');
  t.equal(await statusOfCall(clients.stranger, check), 'UNAVAILABLE', 'without a certificate nobody gets in there');
  for (const client of Object.values(clients)) client.close();

  const following = cli.run(`event list --follow ${remote}`);
  await cli.ok('certificate revoke notebook --yes');
  t.match(await following, { exitCode: 9, err: /revoked/ }, 'a stream that is open ends with its certificate');
  t.match(await cli.run(`vm list ${remote}`), { exitCode: 9, out: '', err: /hint: / });
});

t.test('a token lets in the host that it is for, once', async (t) => {
  const token = await cli.ok('host token dom0-3');
  const stranger = await cli.fleet.join('dom0-4', token);
  t.match(stranger, { exitCode: 9, stderr: /is for dom0-3, not for dom0-4\nhint: make a new one/ });
  t.equal((await cli.fleet.join('dom0-3', token)).exitCode, 0);
  const again = await cli.fleet.join('dom0-3', token);
  t.match(again, { exitCode: 9, stderr: /used[^]*hint: make a new one/ });
  t.strictSame((await cli.rows('host list')).map(({ name }) => name).sort(), ['dom0-1', 'dom0-2', 'dom0-3']);
});

/** Follows the history in the background. */
function follow(): { readonly seen: () => number[]; readonly end: () => Promise<CliRun> } {
  const end = new AbortController();
  let text = '';
  const onOutput = (more: string): void => void (text += more);
  const ended = cli.run('event list --follow --limit 1 -o json', { signal: end.signal, onOutput });
  const idOf = (line: string): number => Number((JSON.parse(line) as { readonly id: number }).id);
  return {
    seen: () => text.split('\n').slice(0, -1).map(idOf),
    end: () => {
      end.abort();
      return ended;
    },
  };
}

t.test('a restart with agents connected loses nothing', async (t) => {
  const known = async (): Promise<string> =>
    JSON.stringify([
      await cli.rows('reservation list'),
      await cli.rows('lease list'),
      await cli.rows('mac list'),
      (await cli.rows('vm list')).map(({ id, name, host, vifs }) => ({ id, name, host, vifs })),
    ]);
  const before = await known();
  const { seen, end } = follow();
  await until(() => seen().length > 0, 'the first event');

  for (const [how, stop] of [
    ['SIGTERM', async () => t.equal(await cli.fleet.stopController(), 0, 'it ends well, with streams open')],
    ['SIGKILL', () => cli.fleet.killController()],
  ] as const) {
    const stoppedMs = Date.now();
    await stop();
    t.ok(Date.now() - stoppedMs < 10_000, `${how}: within 10 s`);
    t.match(await cli.run('vm list'), { exitCode: 8, out: '', err: /no controller answers[^]*hint: start one/ });
    await cli.fleet.startController();
    await cli.areOnline(HOSTS);
    t.equal(await known(), before, `${how}: all is as it was`);
    await until(async () => (await runningVms()) === VMS, `${how}: VMs run on`);
  }
  await cli.ok('lease acquire after-all --reservation job42');
  const [last] = await cli.rows('event list --limit 1');
  await until(() => seen().at(-1) === Number(last?.['id']), 'the last event');
  t.strictSame(
    seen(),
    seen().map((_, n) => (seen()[0] ?? 0) + n),
    'who follows has missed none and seen none twice',
  );
  t.equal((await end()).exitCode, 130, 'Ctrl-C');
});

t.test('a lease list that is watched tells of changes after it, and of none twice', async (t) => {
  const end = new AbortController();
  let text = '';
  const watching = cli.run('lease list --watch -o json', { signal: end.signal, onOutput: (more) => (text += more) });
  await until(() => text.includes(']\n'), 'the list');
  await cli.ok('lease acquire watched --reservation job42');
  await until(() => text.includes('watched'), 'the change');
  end.abort();
  t.equal((await watching).exitCode, 130);
  const [list = '', ...events] = text.split(/(?<=^\]\n)/m);
  t.ok(Array.isArray(JSON.parse(list)));
  t.match(JSON.parse(events.join('')), { kind: 'lease.acquired' }, 'JSON, one object a line');
});

t.test('a host that is revoked is cut at once, and its VMs are left alone', async (t) => {
  await cli.ok('host revoke dom0-2 --yes');
  const [host] = await cli.rows('host show dom0-2');
  t.match(host, { state: 'revoked' });
  t.match(await cli.run('vm shutdown domU@dom0-2'), { exitCode: 8 });
  t.match(await cli.rows('vm list domU@dom0-2'), [{ state: 'running', stale: true }], 'as it was seen last');
});

t.test('the controller says what it will not serve', async (t) => {
  const folder = join(cli.fleet.folder, 'other');
  const file = join(folder, 'domherd.db');
  const settings = join(cli.fleet.folder, 'controller.json');
  const serve = ['serve', '--data-dir', folder, '--listen', 'off', '--join-listen', 'off'];
  mkdirSync(folder, { mode: 0o700 });
  const write = (content: string): void => writeFileSync(file, content, { mode: 0o600 });
  const newer = (): void => {
    write('');
    const driver = new Driver(file);
    driver.exec('PRAGMA application_id = 1685024104; PRAGMA user_version = 999; CREATE TABLE x (y)');
    driver.close();
  };
  const nothing = (): void => undefined;
  const check = (text: string) => (): void => writeFileSync(settings, text);
  const cases: { name: string; before: () => void; args: string[]; exitCode: number; says: RegExp }[] = [
    {
      name: 'a data folder that is served',
      before: nothing,
      args: ['serve', '--data-dir', cli.fleet.dataDir, '--socket', join(folder, 's')],
      exitCode: 8,
      says: /is served by process \d+ on host \S+ since [^]*hint: .*--data-dir/,
    },
    {
      name: 'no database',
      before: () => write('hello'),
      args: serve,
      exitCode: 5,
      says: /no SQLite database[^]*hint: /,
    },
    { name: 'a newer one', before: newer, args: serve, exitCode: 5, says: /version 999[^]*hint: / },
    {
      name: 'a socket path that is too long',
      before: () => write(''),
      args: [...serve, '--socket', `/tmp/${'x'.repeat(120)}`],
      exitCode: 2,
      says: /125 bytes[^]*hint: /,
    },
    {
      name: 'an address that is taken',
      before: nothing,
      args: ['serve', '--data-dir', folder, '--listen', cli.fleet.endpoints.listen, '--join-listen', 'off'],
      exitCode: 8,
      says: /in use|taken[^]*hint: /,
    },
    {
      name: 'an option that there is not',
      before: nothing,
      args: ['serve', '--port', '1'],
      exitCode: 2,
      says: /--port[^]*hint: /,
    },
    {
      name: 'settings with faults, all at once',
      before: check('{"heartbeatMs": 5, "lsten": "x"}'),
      args: ['check-config', settings],
      exitCode: 2,
      says: /2 problems\n {2}heartbeatMs +5 is below the minimum 100\n {2}lsten +unknown key; did you mean listen\?\nhint: /,
    },
    {
      name: 'settings that are no JSON',
      before: check('{'),
      args: ['check-config', settings],
      exitCode: 2,
      says: /JSON[^]*hint: /,
    },
    {
      name: 'settings that are not there',
      before: nothing,
      args: ['check-config', '/nonexistent'],
      exitCode: 3,
      says: /hint: /,
    },
  ];
  for (const { name, before, args, exitCode, says } of cases) {
    before();
    const refused = await cli.fleet.controller(args);
    t.match(refused, { exitCode, stdout: '' }, name);
    t.match(refused.stderr, says, name);
  }
  check('{"heartbeatMs": 5000}')();
  t.match(await cli.fleet.controller(['check-config', settings]), { exitCode: 0, stdout: /ok/ });
  t.match(await cli.fleet.controller(['--help']), { exitCode: 0, stdout: /Examples:\n/, stderr: '' });
});

t.test('a restart of a VM goes on whoever dies, and its request that comes again restarts nothing', async (t) => {
  const [host, vm, slow] = ['dom0-3', 'domU@dom0-3', ['vms=1', 'boot-ms=6000']];
  await cli.fleet.startAgent(host, 1, slow);
  await cli.areOnline([host]);
  await cli.ok(`vm start ${vm} --force`);
  const world = join(cli.fleet.folder, host, 'sim', 'world.json');
  const domain = () => (JSON.parse(readFileSync(world, 'utf8')) as { domains: SimDomain[] }).domains[0];
  const restartController = async (): Promise<void> => {
    await cli.fleet.startController();
    await cli.areOnline([host]);
  };
  for (const [who, die, comeAgain] of [
    ['controller, by SIGTERM', () => cli.fleet.stopController(), restartController],
    ['controller, by SIGKILL', () => cli.fleet.killController(), restartController],
    ['agent', () => cli.fleet.killAgent(host), () => cli.fleet.restartAgent(host, slow)],
  ] as const) {
    const request = `restart-${who.replaceAll(/\W/g, '')}`;
    const command = `vm restart ${vm} --request-id ${request}`;
    const before = domain()!.domid;
    const cut = cli.run(command);
    await until(() => domain()?.stopsAtMs !== undefined, 'the guest is asked to power off');
    await die();
    const isMadeAnew = (): boolean => (domain()?.domid ?? before) > before;
    if (who !== 'agent') {
      await until(isMadeAnew, `${who}: made anew while the controller is dead`);
      t.equal((await cut).exitCode, 8, `${who}: the command knows of no end`);
    }
    await comeAgain();
    await until(isMadeAnew, `${who}: made anew`);
    if (who === 'agent') t.equal((await cut).exitCode, 0, 'the controller has told it again');
    t.match(await cli.ok(command), /domU@dom0-3 +done .*restarted/);
    t.equal(domain()?.domid, before + 1, `${who}: once`);
    const told = (await cli.rows('event list --kind vm.restarted --limit 10')).filter(
      ({ requestId }) => requestId === request,
    );
    t.equal(told.length, 1, `${who}: and told once`);
  }
});

t.test('what a host was told goes on while the controller stops, and is answered when asked again', async (t) => {
  const vm = 'domU@dom0-3';
  const world = join(cli.fleet.folder, 'dom0-3', 'sim', 'world.json');
  const domid = () => (JSON.parse(readFileSync(world, 'utf8')) as { domains: SimDomain[] }).domains[0]?.domid;
  await cli.ok(`vm wait ${vm} --for=running`);
  const before = domid();
  const command = `vm reboot ${vm} --request-id reboot-over-a-stop`;
  let said = '';
  const cut = cli.run(command, { onError: (more) => (said += more) });
  await until(() => said.includes('ask the guest to reboot'), 'the order runs');
  t.equal(await cli.fleet.stopController(), 0);
  t.equal((await cut).exitCode, 8, 'the command knows of no end');
  await until(() => domid() !== before, 'the domain of its next boot');
  const after = domid();
  await cli.fleet.startController();
  await cli.areOnline(['dom0-3']);
  await cli.ok(`vm wait ${vm} --for=running`);
  t.match(await cli.ok(command), /domU@dom0-3 +done/);
  t.equal(domid(), after, 'not once more');
});

interface SimDomain {
  readonly domid: number;
  readonly stopsAtMs?: number;
}
