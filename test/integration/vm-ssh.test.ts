import { execFileSync, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import t, { type Test } from 'tap';
import { Dom0Folder } from '../../controller/cli/dom0/dom0-folder.js';
import { expandPattern } from '../../shared/domain/name-pattern.js';
import { checkInside, insideScript } from '../../controller/cli/guest/vm-check.js';
import { createExec } from '../../shared/exec.js';
import { Bridge, BridgesOfHost, HostServiceService } from '../../shared/gen/domherd/v1/host.js';
import { Lease, LeaseState } from '../../shared/gen/domherd/v1/lease.js';
import { Vif, Vm, VmServiceService, VmState } from '../../shared/gen/domherd/v1/vm.js';
import { runCli, type CliOptions, type CliRun } from '../fakes/cli-run.js';
import { Dom0Jail, makeSshKey } from '../harness/dom0-jail.js';

// The guests are a real sshd that listens on several addresses of loopback; the command line, ssh and scp are real. Of the
// controller there is only the list of VMs: simulated ones have no guest, and real ones need a Xen.

const folder = t.testdir({ home: { '.ssh': {} }, data: {} });
const home = join(folder, 'home');
const dataDir = join(folder, 'data');
const key = makeSshKey(join(folder, 'key'));
let guests: Dom0Jail;

function vmOf(id: number, name: string, address: string | undefined, change: Partial<Vm> = {}): Vm {
  const lease = address === undefined ? undefined : Lease.create({ address, state: LeaseState.BOUND });
  return Vm.create({ id, name, host: 'dom0-1', state: VmState.RUNNING, vifs: [Vif.create({ lease })], ...change });
}

const VMS = [
  vmOf(1, 'web-1', '127.0.0.2'),
  vmOf(2, 'web-2', '127.0.0.3'),
  vmOf(3, 'domU', '127.0.0.4'),
  vmOf(4, 'domU', '127.0.0.5', { host: 'dom0-2' }),
  vmOf(5, 'off', '127.0.0.6', { state: VmState.STOPPED }),
  vmOf(6, 'bare', undefined),
  vmOf(7, 'toy', '127.0.0.7', { simulated: true }),
];

async function startController(t: Test): Promise<string> {
  const short = mkdtempSync(join(tmpdir(), 'dh-'));
  t.teardown(() => rmSync(short, { recursive: true }));
  const socket = join(short, 'c.sock');
  const server = new Server();
  server.addService(VmServiceService, {
    list: (
      call: { request: { selector?: { names: string[]; all: boolean } } },
      done: (e: null, r: unknown) => void,
    ) => {
      const { names = [], all = false } = call.request.selector ?? {};
      const told = new Set(names.flatMap(expandPattern));
      const vms = VMS.filter((vm) => all || told.has(vm.name) || told.has(`${vm.name}@${vm.host}`));
      done(null, { vms });
    },
  });
  server.addService(HostServiceService, {
    listBridges: (_: unknown, done: (e: null, r: unknown) => void) => {
      const bridges = [{ bridge: Bridge.create({ name: 'xenbr0', up: true }), vms: [] }];
      done(null, { hosts: [BridgesOfHost.create({ host: 'dom0-1', known: true, bridges })] });
    },
  });
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`unix:${socket}`, ServerCredentials.createInsecure(), (error) =>
      error ? reject(error) : resolve(),
    );
  });
  t.teardown(() => server.forceShutdown());
  return socket;
}

let socket = '';

function domherd(args: readonly string[], options: CliOptions = {}, runtimeDir = folder): Promise<CliRun> {
  const { PATH } = process.env;
  const env = { DOMHERD_SOCKET: socket, DOMHERD_DATA_DIR: dataDir, XDG_RUNTIME_DIR: runtimeDir };
  return runCli(args, { home, exec: createExec({ PATH, HOME: home }), env, ...options });
}

/** As a terminal would: what the program prints is kept. */
function attached(): { readonly said: string[]; readonly attach: NonNullable<CliOptions['attach']> } {
  const said: string[] = [];
  return {
    said,
    attach: ([program, ...args]) => {
      const { status, stdout, stderr } = spawnSync(program, args, { env: { ...process.env, HOME: home } });
      said.push(stdout.toString(), stderr.toString());
      return Promise.resolve(status ?? 1);
    },
  };
}

t.before(async () => {
  guests = await Dom0Jail.start(join(folder, 'guests'), 'guests', key, '');
  // The user's own configuration: it has the key, and here the port.
  const own = ['Host *', `  Port ${String(guests.port)}`, `  IdentityFile ${key}`, '  IdentitiesOnly yes', ''];
  writeFileSync(join(home, '.ssh', 'config'), own.join('\n'), { mode: 0o600 });
  socket = await startController(t);
});
t.teardown(() => guests.stop());

const SERVER_ADDRESS = 'echo ${SSH_CONNECTION#* * } | cut -d" " -f1';

t.test('a command runs in all VMs that run, and what they say alike is printed once', async (t) => {
  const same = await domherd(['vm', 'run', '--all', '--', 'echo hello']);
  t.equal(same.exitCode, 0, same.err);
  t.equal(same.out, `${'-'.repeat(15)}\ndomU.dom0-[1-2],web-[1-2] (4)\n${'-'.repeat(15)}\nhello\n`);
  t.match(same.err, /^bare: left out: it has no lease$/m);
  t.match(same.err, /^off: left out: it is stopped$/m);
  t.match(same.err, /^toy: left out: it is simulated: there is no guest to log in to$/m);
  const each = await domherd(['vm', 'run', 'web-[1-2]', '--', SERVER_ADDRESS]);
  t.equal(each.exitCode, 0, each.err);
  t.match(each.out, /\nweb-1\n-+\n127\.0\.0\.2\n-+\nweb-2\n-+\n127\.0\.0\.3\n/, 'each is itself');
  const one = await domherd(['vm', 'run', 'web-1', '--', 'echo', 'out;', 'echo', 'aside', '>&2']);
  t.match(one, { exitCode: 0, out: 'out\n', err: /^aside\n$/m }, 'one alone has no header');
});

t.test('a connection is used again, by whatever comes next, and holds nobody up', async (t) => {
  // A unix socket has no room for the path of the test's own folder.
  const runtime = mkdtempSync(join(tmpdir(), 'dh-'));
  const sockets = join(runtime, 'domherd-ssh');
  t.teardown(() => {
    for (const name of readdirSync(sockets)) spawnSync('ssh', ['-O', 'exit', '-S', join(sockets, name), 'any']);
    rmSync(runtime, { recursive: true });
  });
  const clientPort = async (): Promise<string> => {
    const startedMs = Date.now();
    const { exitCode, out, err } = await domherd(['vm', 'run', 'web-1', '--', 'echo $SSH_CONNECTION'], {}, runtime);
    t.equal(exitCode, 0, err);
    t.ok(Date.now() - startedMs < 40_000, 'it does not wait for the end of the connection, a minute later');
    return out.split(' ')[1] ?? '';
  };
  const port = await clientPort();
  t.match(port, /^\d+$/);
  t.equal(await clientPort(), port);
  t.equal(statSync(sockets).mode & 0o777, 0o700);
  const { said, attach } = attached();
  await domherd(['vm', 'ssh', 'web-1', '--', 'echo $SSH_CONNECTION'], { attach }, runtime);
  t.equal(said[0]?.split(' ')[1], port, 'vm ssh has the same');
});

t.test('each VM has its own end', async (t) => {
  const script =
    'test $SSH_CONNECTION || a=$(echo $SSH_CONNECTION | cut -d" " -f3); [ $a = 127.0.0.3 ] && exit 3; echo fine';
  const some = await domherd(['vm', 'run', 'web-1', 'web-2', '--', script]);
  t.match(some, { exitCode: 10, out: /web-1\n-+\nfine\n$/, err: /web-2: exit code 3\n/ });
  t.match(await domherd(['vm', 'run', 'web-1', 'web-2', '--', 'exit 7']), {
    exitCode: 7,
    err: /web-\[1-2\]: exit code 7/,
  });
  const named = await domherd(['vm', 'run', 'web-1', 'off', '-o', 'json', '--', 'echo a']);
  t.equal(named.exitCode, 10);
  t.match(JSON.parse(named.out), [
    { vm: 'web-1@dom0-1', exitCode: 0, error: null, stdout: 'a\n', stderr: '' },
    { vm: 'off@dom0-1', exitCode: null, error: 'it is stopped' },
  ]);
});

t.test('one that hangs holds nobody up, and Ctrl-C ends all', async (t) => {
  const script = '[ $(echo $SSH_CONNECTION | cut -d" " -f3) = 127.0.0.3 ] && sleep 600; echo here';
  const startedMs = Date.now();
  const hung = await domherd(['vm', 'run', 'web-1', 'web-2', '--timeout', '8s', '--', script]);
  t.match(hung, { exitCode: 10, out: /web-1\n-+\nhere\n$/, err: /web-2: not done in 8 s/ });
  t.ok(Date.now() - startedMs < 60_000);
  const abort = new AbortController();
  setTimeout(() => abort.abort(), 500);
  const cut = await domherd(['vm', 'run', 'web-1', 'web-2', '--', 'sleep 600'], { signal: abort.signal });
  t.ok(Date.now() - startedMs < 120_000);
  t.match(cut.err, /interrupted/);
});

t.test('at most so many at once', async (t) => {
  const lock = join(folder, 'running');
  const script = `mkdir ${lock} || exit 9; sleep 0.2; rmdir ${lock}`;
  const turns = await domherd(['vm', 'run', 'web-1', 'web-2', 'domU@dom0-1', '--max', '1', '--', script]);
  t.equal(turns.exitCode, 0, turns.err);
});

t.test('a host key belongs to a VM, wherever its address goes', async (t) => {
  const known = readFileSync(join(dataDir, 'ssh', 'vms.known_hosts'), 'utf8');
  t.match(known, /^domherd-vm-1 ssh-ed25519 /m);
  t.notMatch(known, '127.0.0.2');
  await guests.stop();
  guests.newHostKey();
  await guests.boot();
  const other = await domherd(['vm', 'run', 'web-1', '--', 'true']);
  t.match(other, { exitCode: 255, err: /REMOTE HOST IDENTIFICATION HAS CHANGED/ });
  rmSync(join(dataDir, 'ssh', 'vms.known_hosts'));
  t.equal((await domherd(['vm', 'run', 'web-1', '--', 'true'])).exitCode, 0);
});

t.test('a VM whose host keys are known shows one of them, or is not talked to', async (t) => {
  const [, blob = ''] = readFileSync(join(guests.folder, 'host_key.pub'), 'utf8').split(' ');
  const real = `ssh-ed25519 ${blob}`;
  const other = readFileSync(`${key}.pub`, 'utf8').split(' ').slice(0, 2).join(' ');
  const [web1, web2] = VMS;
  t.teardown(() => {
    for (const vm of [web1, web2]) vm!.hostKeys = [];
  });
  web1!.hostKeys = [real];
  web2!.hostKeys = [other];
  rmSync(join(dataDir, 'ssh', 'vms.known_hosts'));
  const ran = await domherd(['vm', 'run', 'web-1', 'web-2', '--', 'echo in']);
  t.match(ran, { exitCode: 10, out: /web-1\n-+\nin\n$/, err: /REMOTE HOST IDENTIFICATION HAS CHANGED/ });
  t.match(ran.err, /web-2: exit code 255/);
  t.notOk(existsSync(join(dataDir, 'ssh', 'vms.known_hosts')), 'nothing is taken on trust');
  const { out } = await domherd(['ssh-config', 'web-1']);
  t.match(out, /StrictHostKeyChecking yes\n/);
  const path = join(t.testdir({ config: out }), 'config');
  const own = ['-o', `Port=${String(guests.port)}`, '-o', `IdentityFile=${key}`];
  const env = { ...process.env, HOME: home };
  t.equal(execFileSync('ssh', ['-F', path, ...own, 'web-1', 'echo in'], { env, stdio: 'pipe' }).toString(), 'in\n');
  t.match(readFileSync(join(dataDir, 'ssh', 'vms.host_keys'), 'utf8'), `domherd-vm-1 ${real}\ndomherd-vm-2 ${other}\n`);
});

t.test('vm check tells what is wrong, from cfg to DNS', async (t) => {
  const real = VMS[0]!.vifs[0]!;
  t.teardown(() => Object.assign(real, { mac: '', guestAddress: '', bridge: '' }));
  Object.assign(real, { mac: '00:16:3E:00:00:01', guestAddress: '127.0.0.2', bridge: 'xenbr0' });
  real.lease!.mac = '00:16:3e:00:00:01';
  const json = await domherd(['vm', 'check', 'web-1', 'off', '-o', 'json', '--timeout', '60s']);
  t.equal(json.exitCode, 5, json.err);
  const rows = JSON.parse(json.out) as readonly { vm: string; check: string; verdict: string; note: string }[];
  const verdicts = (vm: string) =>
    Object.fromEntries(rows.filter((row) => row.vm === `${vm}@dom0-1`).map((row) => [row.check, row.verdict]));
  t.match(verdicts('web-1'), {
    running: 'ok',
    'cfg MAC': 'ok',
    'guest file': 'ok',
    bridge: 'ok',
    'ssh login': 'ok',
    // The guest is this machine: it has neither the MAC nor the name.
    address: 'failed',
    hostname: 'failed',
  });
  t.match(verdicts('off'), { running: 'failed', network: 'not checked' });
  for (const [args, err] of [
    [['vm', 'check'], /no VM is named/],
    [['vm', 'check', '--all', '--resolve', 'a b'], /is no name to resolve/],
    [['vm', 'check', '--all', '--max', '0'], /1 to 1000/],
    [['vm', 'check', 'web-1', '-o', 'ips'], /makes no sense/],
  ] as const) {
    t.match(await domherd(args), { exitCode: 2, err }, args.join(' '));
  }
});

t.test('what a guest says of itself is judged', (t) => {
  const lease = Lease.create({ address: '10.180.0.7', mac: '00:16:3e:b4:00:07', state: LeaseState.BOUND });
  const vm = Vm.create({ name: 'web-1', host: 'dom0-1', state: VmState.RUNNING, vifs: [Vif.create({ lease })] });
  const judged = (output: string) => checkInside(vm, output).map(({ name, verdict }) => `${name}: ${verdict}`);
  const nic = 'nic=lo 00:00:00:00:00:00 127.0.0.1/8\nnic=eth0 00:16:3e:b4:00:07 10.180.0.7/14\n';
  t.strictSame(judged(`hostname=web-1\n${nic}gateway=10.183.255.254\nping=ok\ndns=ok\n`), [
    'address: ok',
    'default route: ok',
    'gateway: ok',
    'DNS: ok',
    'hostname: ok',
  ]);
  t.strictSame(judged('hostname=domU\nnic=eth0 00:16:3e:b4:00:07 10.180.0.8/14\ngateway=\ndns=none\n'), [
    'address: failed',
    'default route: failed',
    'DNS: failed',
    'hostname: failed',
  ]);
  t.strictSame(judged(`hostname=web-1.example\n${nic}gateway=10.0.0.1\nping=silent\n`), [
    'address: ok',
    'default route: ok',
    'gateway: failed',
    'DNS: not checked',
    'hostname: ok',
  ]);
  for (const shell of [['sh'], ['busybox', 'sh']]) {
    const said = execFileSync(shell[0]!, [...shell.slice(1), '-c', insideScript('localhost')]).toString();
    t.match(said, /^hostname=.+\nnic=[^]*\ngateway=/, shell.join(' '));
    t.match(said, /^nic=lo 00:00:00:00:00:00 127\.0\.0\.1\/8/m, shell.join(' '));
  }
  t.end();
});

t.test('ssh and scp by the names of VMs', async (t) => {
  const terminal = attached();
  const login = await domherd(['vm', 'ssh', 'domU@dom0-2', '--', SERVER_ADDRESS], { attach: terminal.attach });
  t.equal(login.exitCode, 0, terminal.said.join('\n'));
  t.equal(terminal.said[0], '127.0.0.5\n');
  t.equal((await domherd(['vm', 'ssh', 'web-1', 'exit', '5'], { attach: terminal.attach })).exitCode, 5);

  const there = guests.path('lib', 'domherd-test');
  const source = join(folder, 'with:colon');
  writeFileSync(source, 'content');
  const up = ['vm', 'scp', source, 'web-1:/var/lib/domherd-test'];
  t.equal((await domherd(up, { attach: terminal.attach })).exitCode, 0, terminal.said.join('\n'));
  t.equal(readFileSync(there, 'utf8'), 'content');
  const back = join(folder, 'back');
  const down = ['vm', 'scp', 'domU@dom0-1:/var/lib/domherd-test', back];
  t.equal((await domherd(down, { attach: terminal.attach })).exitCode, 0, terminal.said.join('\n'));
  t.equal(readFileSync(back, 'utf8'), 'content');

  mkdirSync(join(folder, 'tree', 'below'), { recursive: true });
  writeFileSync(join(folder, 'tree', 'below', 'file'), 'deep', { mode: 0o755 });
  const copied = await domherd(['vm', 'copy', join(folder, 'tree'), '/var/lib/', 'web-1', 'off']);
  t.match(copied, { exitCode: 10, out: /web-1@dom0-1 +done[^]*off@dom0-1 +it is stopped/ });
  t.equal(statSync(guests.path('lib', 'tree', 'below', 'file')).mode & 0o777, 0o755);

  for (const [args, err] of [
    [['vm', 'ssh', 'off'], /off@dom0-1 cannot be reached: it is stopped\nhint: domherd vm start off@dom0-1/],
    [['vm', 'ssh', 'bare'], /it has no lease\nhint: .*domherd vm address/],
    [['vm', 'ssh', 'toy'], /it is simulated/],
    [['vm', 'ssh', 'domU'], /domU is not one VM/],
    [['vm', 'scp', 'a', 'b'], /none of the paths is in a VM\nhint: domherd vm scp/],
    [['vm', 'run', '--all'], /no command is given\nhint: domherd vm run/],
    [['vm', 'run', '--', 'uptime'], /no VM is named/],
    [['vm', 'run', '--all', '--timeout', '0s', '--', 'a'], /duration of 1s to 1d/],
    [['vm', 'copy', 'web-1:/etc/hosts', '/tmp/', 'web-2'], /vm scp/],
  ] as const) {
    t.match(await domherd(args), { exitCode: /^[1-9]/, err }, args.join(' '));
  }
});

t.test('ssh itself takes the configuration, which has VMs that do not run yet', async (t) => {
  const { out, err } = await domherd(['ssh-config']);
  t.match(err, /1 of 7 VMs have no lease and are left out/);
  const path = join(t.testdir({ config: out }), 'config');
  const env = { ...process.env, HOME: home };
  const own = ['-o', `Port=${String(guests.port)}`, '-o', `IdentityFile=${key}`];
  const said = execFileSync('ssh', ['-F', path, ...own, 'domU.dom0-2', SERVER_ADDRESS], { env, stdio: 'pipe' });
  t.equal(said.toString(), '127.0.0.5\n');
  t.match(execFileSync('ssh', ['-F', path, '-G', 'off']).toString(), /^hostname 127\.0\.0\.6$/m);
});

t.test('a VM that does not answer from here is reached through its dom0', async (t) => {
  const dom0 = await Dom0Jail.start(join(folder, 'dom0'), 'dom0-1', key, '');
  t.teardown(() => dom0.stop());
  const sshConfig = join(folder, 'dom0-config');
  writeFileSync(sshConfig, dom0.sshConfig());
  const dom0s = new Dom0Folder(dataDir);
  await dom0s.save('dom0-1', { user: 'root', sshConfig, jobId: null, tunnel: null });
  // Nobody listens on port 22 of these addresses: from here they are silent.
  const jumped = await domherd(['vm', 'run', 'web-1', '--', 'echo $SSH_CONNECTION']);
  t.equal(jumped.exitCode, 0, jumped.err);
  t.match(jumped.out, /^127\.0\.0\.\d+ \d+ 127\.0\.0\.2 /);
  t.ok(existsSync(dom0s.knownHostsPath('dom0-1')), 'it was asked for its own key');
  const jump = /ProxyCommand ssh -F \S+ .*-W '\[%h\]:%p' -- dom0-1\n/;
  const blockOf = async (name: string): Promise<string> => {
    const { out } = await domherd(['ssh-config']);
    return out.split(/^(?=Host )/m).find((block) => block.startsWith(`Host ${name}\n`)) ?? '';
  };
  for (const name of ['web-1', 'off']) t.match(await blockOf(name), jump, `no VM answers: ${name}`);
  const server = createServer((socket) => socket.end('SSH-2.0-test\r\n')).listen(22, '127.0.0.2');
  t.teardown(() => server.close());
  await once(server, 'listening');
  t.match(await blockOf('domU.dom0-1'), jump, 'it does not answer, though another one does');
  for (const name of ['web-1', 'off']) {
    const block = await blockOf(name);
    t.match(block, /HostName/, name);
    t.notMatch(block, /Proxy/, `there is a route to ${name}`);
  }
  server.close();
  await dom0.stop();
  await domherd(['vm', 'run', 'domU@dom0-1', '--', 'true']).then(({ exitCode, err }) => {
    t.equal(exitCode, 255, `without the dom0 there is no way: ${err}`);
  });
});
