import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { pingProbe, sshProbe, type Probe } from '../../controller/cli/reach-probe.js';
import { probeRunning } from '../../controller/cli/reach-wait.js';
import { createExec } from '../../shared/exec.js';
import { Lease } from '../../shared/gen/domherd/v1/lease.js';
import { Vif, Vm, VmState, type VmProgress, type VmResult } from '../../shared/gen/domherd/v1/vm.js';

const never = new AbortController().signal;

/** A listener on one of loopback's many addresses. */
async function listen(t: Test, address: string, port: number, greet: (socket: Socket) => void): Promise<Server> {
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    greet(socket);
  });
  const sockets = new Set<Socket>();
  server.on('connection', (socket) => sockets.add(socket));
  await new Promise<void>((resolve) => server.listen(port, address, resolve));
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return server;
}

const portOf = (server: Server): number => (server.address() as AddressInfo).port;
const sshd = (socket: Socket): void => void socket.write('SSH-2.0-OpenSSH_9.2p1\r\n');

/** A ping that answers for the addresses in a file, and keeps what it was asked. */
function fakePing(t: Test, answering: readonly string[]) {
  const folder = t.testdir({ answering: `${answering.join('\n')}\n`, asked: '' });
  const script = `#!/bin/sh
echo "$*" >> ${folder}/asked
for last; do :; done
[ "$last" = 127.0.0.9 ] && { echo "ping: connect: Network is unreachable" >&2; exit 2; }
grep -qx "$last" ${folder}/answering
`;
  writeFileSync(join(folder, 'ping'), script);
  chmodSync(join(folder, 'ping'), 0o755);
  const exec = createExec({ PATH: `${folder}:/usr/bin:/bin` });
  return {
    exec,
    answer: (address: string) => writeFileSync(join(folder, 'answering'), `${address}\n`),
    asked: () => readFileSync(join(folder, 'asked'), 'utf8').trim().split('\n'),
  };
}

function runningVm(name: string, ...addresses: string[]): Vm {
  const vifs = addresses.map((address, index) => Vif.create({ index, lease: Lease.create({ address }) }));
  return Vm.create({ name, host: 'dom0-1', state: VmState.RUNNING, vifs });
}

function resultOf(vm: Vm, errorCode = ''): VmProgress {
  const value = { vm: vm.name, host: vm.host, errorCode, message: '', details: {}, state: vm, warnings: [] };
  return { progress: { $case: 'result', value } };
}

async function* running(...vms: Vm[]): AsyncGenerator<VmProgress> {
  for (const vm of vms) {
    await delay(1);
    yield resultOf(vm);
  }
}

interface Told {
  readonly steps: readonly string[];
  readonly results: ReadonlyMap<string, VmResult>;
}

async function collect(source: AsyncIterable<VmProgress>, probe: Probe, timeoutSeconds: number): Promise<Told> {
  const pause = (ms: number) => delay(ms / 20);
  const options = { probe, timeoutSeconds, nowMs: () => Date.now(), pause, signal: never };
  const steps: string[] = [];
  const results = new Map<string, VmResult>();
  for await (const { progress } of probeRunning(source, options)) {
    if (progress?.$case === 'step') steps.push(`${progress.value.vm}: ${progress.value.message}`);
    if (progress?.$case === 'result') results.set(progress.value.vm, progress.value);
  }
  return { steps, results };
}

t.test('looking for an sshd', async (t) => {
  const first = await listen(t, '127.0.0.2', 0, (socket) => void socket.write('SSH-2.0-OpenSSH_9.2p1\r\n'));
  const probe = sshProbe(portOf(first));
  await listen(t, '127.0.0.3', portOf(first), (socket) => {
    socket.write('welcome to this host\r\nSSH-');
    setTimeout(() => socket.write('1.99-old\r\n'), 20);
  });
  await listen(t, '127.0.0.4', portOf(first), (socket) => void socket.end('220 mail.example ESMTP\r\n'));
  await listen(t, '127.0.0.5', portOf(first), (socket) => void socket.write('x'.repeat(20_000)));
  await listen(t, '127.0.0.6', portOf(first), () => undefined);
  t.equal(await probe.look('127.0.0.2', never), undefined);
  t.equal(await probe.look('127.0.0.3', never), undefined, 'lines before the banner, which comes in pieces');
  t.match(await probe.look('127.0.0.4', never), /closes without an SSH banner/);
  t.match(await probe.look('127.0.0.5', never), /something else than SSH/);
  t.match(await probe.look('127.0.0.7', never), /port \d+ is closed/);
  t.match(await probe.look('127.0.0.6', never), /port \d+ is silent/);
  t.match(await probe.look('127.0.0.6', AbortSignal.timeout(20)), /the wait ended/);
  t.ok(await probe.look('127.0.0.2', AbortSignal.abort()));
});

t.test('looking by ping', async (t) => {
  const ping = fakePing(t, ['127.0.0.2']);
  const probe = pingProbe(ping.exec);
  t.equal(await probe.look('127.0.0.2', never), undefined);
  t.equal(await probe.look('127.0.0.3', never), 'no answer to ping');
  t.match(await probe.look('127.0.0.9', never), /ping says: .*Network is unreachable/);
  t.equal(ping.asked()[0], '-n -c1 -W1 127.0.0.2');
  await t.rejects(pingProbe(createExec({ PATH: '/nonexistent' })).look('127.0.0.2', never), {
    code: 'wrong_state',
    details: { hint: /iputils-ping.*--for=ssh/ },
  });
});

t.test('a simulated VM that does not answer is told to be one', async (t) => {
  const vm = { ...runningVm('toy', '127.0.0.9'), simulated: true };
  const { results } = await collect(running(vm), sshProbe(1), 1);
  t.match(results.get('toy'), { errorCode: 'timeout', details: { hint: /simulated.*--for=running/ } });
});

t.test('a VM is there when each of its leased addresses answers', async (t) => {
  const first = await listen(t, '127.0.0.2', 0, sshd);
  const probe = sshProbe(portOf(first));
  const late = delay(300).then(() => listen(t, '127.0.0.3', portOf(first), sshd));
  const vms = [
    runningVm('up', '127.0.0.2'),
    runningVm('late', '127.0.0.2', '127.0.0.3'),
    runningVm('half', '127.0.0.2', '127.0.0.8'),
    runningVm('bare'),
  ];
  const { steps, results } = await collect(running(...vms), probe, 3);
  await late;
  t.match(results.get('up'), { errorCode: '', message: '127.0.0.2 answers ssh' });
  t.match(results.get('late'), { errorCode: '', message: '127.0.0.2, 127.0.0.3 answers ssh' });
  t.match(results.get('half'), {
    errorCode: 'timeout',
    message: /still: 127\.0\.0\.8: port \d+ is closed$/,
    details: { hint: /domherd vm show half@dom0-1/ },
  });
  t.match(results.get('bare'), { errorCode: 'wrong_state', details: { hint: /domherd vm address bare@dom0-1/ } });
  t.equal(steps.filter((step) => step.startsWith('half')).length, 1, 'the same news is told once');
});

t.test('what the controller says of others is handed on', async (t) => {
  const ping = fakePing(t, ['127.0.0.2']);
  async function* mixed(): AsyncGenerator<VmProgress> {
    yield resultOf(runningVm('a', '127.0.0.2'));
    await delay(1);
    yield resultOf(runningVm('b'), 'timeout');
  }
  const { results } = await collect(mixed(), pingProbe(ping.exec), 60);
  t.same([...results].map(([vm, { errorCode }]) => [vm, errorCode]).sort(), [
    ['a', ''],
    ['b', 'timeout'],
  ]);
});

t.test('nothing is looked at any more once it fails, or nobody listens', async (t) => {
  let looks = 0;
  const deaf: Probe = { answers: '', look: () => Promise.resolve(((looks += 1), 'no')) };
  async function* broken(): AsyncGenerator<VmProgress> {
    yield resultOf(runningVm('a', '127.0.0.2'));
    await delay(30);
    throw new Error('the controller is gone');
  }
  await t.rejects(collect(broken(), deaf, 60), { message: 'the controller is gone' });
  const options = { probe: deaf, timeoutSeconds: 60, nowMs: () => Date.now(), signal: never };
  const pause = (_ms: number, signal: AbortSignal) => delay(5, undefined, { signal }).catch(() => undefined);
  const reading = probeRunning(running(runningVm('a', '127.0.0.2')), { ...options, pause });
  await reading.next();
  await reading.return();
  await delay(20);
  const before = looks;
  await delay(60);
  t.equal(looks, before);
  await t.rejects(collect(running(runningVm('a', '127.0.0.2')), pingProbe(createExec({ PATH: '/x' })), 60), {
    code: 'wrong_state',
  });
});

t.test('at most 32 are looked at at a time', async (t) => {
  let now = 0;
  let most = 0;
  const slow: Probe = {
    answers: 'answers',
    look: async () => {
      most = Math.max(most, (now += 1));
      await delay(2);
      now -= 1;
      return undefined;
    },
  };
  const vms = Array.from({ length: 200 }, (_, n) => runningVm(`vm${String(n)}`, '127.0.0.2'));
  const { results } = await collect(running(...vms), slow, 60);
  t.equal(results.size, 200);
  t.ok(most <= 32 && most > 1, String(most));
});
