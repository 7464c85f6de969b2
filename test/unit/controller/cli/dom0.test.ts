import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { parseAnswer } from '../../../../controller/cli/dom0/answer.js';
import type { Artefact } from '../../../../controller/cli/dom0/artefact.js';
import { Dom0Folder, type Dom0Record } from '../../../../controller/cli/dom0/dom0-folder.js';
import { endpointsOf } from '../../../../controller/cli/dom0/endpoint.js';
import { exitCodeOfAll } from '../../../../controller/cli/dom0/exit-code.js';
import { fanOut } from '../../../../controller/cli/fan-out.js';
import { parseNodeList } from '../../../../controller/cli/dom0/node-list.js';
import { planDom0, type Wanted } from '../../../../controller/cli/dom0/plan.js';
import { parseProbe, type Dom0Facts } from '../../../../controller/cli/dom0/probe.js';
import { PROBE, quote, scriptText } from '../../../../controller/cli/dom0/script.js';
import { sshFailure } from '../../../../controller/cli/dom0/ssh-failure.js';
import { sshOptions } from '../../../../controller/cli/dom0/ssh.js';
import { AppError, toAppError } from '../../../../shared/errors.js';
import type { ExecResult } from '../../../../shared/exec.js';

t.test('a list of nodes has each once, in its order', (t) => {
  const text =
    '# job 42\nparavance-2.rennes.g5k\nparavance-2.rennes.g5k\n\n  Paravance-1.rennes.g5k # mine\r\nparavance-2.rennes.g5k\n';
  t.strictSame(parseNodeList(text, 'nodes'), ['paravance-2.rennes.g5k', 'paravance-1.rennes.g5k']);
  t.strictSame(parseNodeList('\n#\n', 'nodes'), []);
  t.throws(() => parseNodeList('a\n-oProxyCommand=x\n', 'nodes'), { code: 'invalid', message: /^nodes, line 2: / });
  t.throws(() => parseNodeList('a b\n', 'nodes'), { code: 'invalid' }, 'an option or two words are no host');
  t.end();
});

t.test('the words of a script are quoted', (t) => {
  fc.assert(
    fc.property(
      fc.string().filter((text) => !text.includes('\0')),
      (text) => {
        const quoted = quote(text);
        return quoted.startsWith("'") && quoted.slice(1, -1).replaceAll("'\\''", '') === text.replaceAll("'", '');
      },
    ),
  );
  const input = `${scriptText('say a "$a"; say b "${#b[@]} ${b[1]}"; read -r line; say rest "$line"', {
    a: `it's $HOME; \`id\`\nsecond`,
    b: ['x', 'y z'],
  })}what follows\n`;
  const answer = parseAnswer(execFileSync('bash', ['--norc', '--noprofile', '-s'], { input }).toString());
  t.equal(answer.one('a'), "it's $HOME; `id`\nsecond", 'bash takes them as they are, and says them in one line');
  t.equal(answer.one('b'), '2 y z');
  t.equal(answer.one('rest'), 'what follows', 'what comes after the script is the input of the script');
  t.equal(answer.one('other'), '');
  t.end();
});

t.test('the probe runs on this machine and is read', (t) => {
  const values = { dials: ['session 127.0.0.1 1', 'join no-such-host.invalid 7434'] };
  const output = execFileSync('bash', ['--norc', '--noprofile', '-s'], { input: scriptText(PROBE, values) }).toString();
  const facts = parseProbe(parseAnswer(`Welcome to dom0!\nlast login=yesterday\n${output}`));
  t.equal(facts.isRoot, process.getuid?.() === 0);
  t.match(facts, { arch: /^\w+$/, glibc: /^\d+\.\d+$/, xen: /none|other|dom0/ });
  t.ok(Math.abs(facts.nowS - Date.now() / 1000) < 60);
  t.ok(facts.optFreeKib > 0 && facts.varFreeKib > 0);
  t.strictSame(facts.dials, [
    { kind: 'session', host: '127.0.0.1', port: 1, outcome: 'refused' },
    { kind: 'join', host: 'no-such-host.invalid', port: 7434, outcome: 'unknown-name' },
  ]);
  t.throws(() => parseProbe(parseAnswer(output.replace(/probe=end/, ''))), { code: 'internal' }, 'cut off');
  t.end();
});

const ARTEFACT: Artefact = {
  ...{ path: '/a', version: '1.0.0+aa', arch: 'x86_64', glibc: '2.28', node: '20.20.2', nodeSha256: 'n1' },
  ...{ unpackedKib: 90_000, bytes: 33_000_000, agentBytes: 400_000 },
};
const NOW_S = 1_800_000_000;
const FRESH: Dom0Facts = {
  ...{ isRoot: true, arch: 'x86_64', glibc: '2.36', nodeName: 'dom0-1', nowS: NOW_S, hasXl: true, xen: 'dom0' },
  ...{
    hasSystemd: true,
    consoleLog: 'on',
    missing: [],
    optFreeKib: 1_000_000,
    varFreeKib: 1_000_000,
    agentOptions: '',
    versions: [],
  },
  ...{ current: '', unitsDiffer: false, isActive: false, isEnabled: false, running: '', identity: undefined },
  dials: [
    { kind: 'session', host: '10.0.0.1', port: 7433, outcome: 'open' },
    { kind: 'join', host: '10.0.0.1', port: 7434, outcome: 'open' },
  ],
};
const INSTALLED: Dom0Facts = {
  ...FRESH,
  ...{ versions: [{ version: '1.0.0+aa', nodeSha256: 'n1' }], current: '1.0.0+aa', running: '1.0.0+aa' },
  ...{ isActive: true, isEnabled: true, identity: { host: 'dom0-1', deploymentId: 'd1' } },
};
const KNOWN = { deploymentId: 'd1', isRevoked: false, sessionAddresses: [] };
const WANTED: Wanted = {
  host: 'dom0-1',
  artefact: ARTEFACT,
  known: KNOWN,
  verb: 'add',
  tunnel: undefined,
  nowS: NOW_S,
};

t.test('the plan for a dom0', (t) => {
  const tunnel = { session: 7433, join: 7434 };
  const old = { versions: [{ version: '1.0.0+99', nodeSha256: 'n1' }], current: '1.0.0+99', running: '1.0.0+99' };
  const cases: { name: string; facts: Dom0Facts; wanted?: Partial<Wanted>; want: string }[] = [
    { name: 'a fresh one', facts: FRESH, wanted: { known: undefined }, want: 'copy activate join start wait' },
    { name: 'one that is as it should be', facts: INSTALLED, want: 'wait' },
    { name: 'an older version', facts: { ...INSTALLED, ...old }, want: 'copy activate start wait' },
    { name: 'present, another one runs', facts: { ...INSTALLED, running: '1.0.0+99' }, want: 'start wait' },
    { name: 'an agent that was stopped', facts: { ...INSTALLED, isActive: false }, want: 'start wait' },
    { name: 'not started at boot', facts: { ...INSTALLED, isEnabled: false }, want: 'start wait' },
    { name: 'units that were edited', facts: { ...INSTALLED, unitsDiffer: true }, want: 'activate start wait' },
    { name: 'consoles that nobody logs', facts: { ...INSTALLED, consoleLog: 'off' }, want: 'console-log wait' },
    { name: 'consoles of who knows what', facts: { ...INSTALLED, consoleLog: 'unknown' }, want: 'wait' },
    { name: 'no identity', facts: { ...INSTALLED, identity: undefined }, want: 'join start wait' },
    { name: 'unknown to the controller', facts: INSTALLED, wanted: { known: undefined }, want: 'join start wait' },
    {
      name: 'revoked',
      facts: INSTALLED,
      wanted: { known: { ...KNOWN, isRevoked: true } },
      want: 'join start wait',
    },
    {
      name: 'the identity of another deployment of the image',
      facts: { ...INSTALLED, identity: { host: 'dom0-1', deploymentId: 'd0' } },
      want: 'join start wait',
    },
    {
      name: 'the identity of the node that the image was recorded on',
      facts: { ...INSTALLED, identity: { host: 'dom0-9', deploymentId: 'd1' } },
      want: 'join start wait',
    },
    { name: 'from now on through a tunnel', facts: INSTALLED, wanted: { tunnel }, want: 'tunnel join start wait' },
    {
      name: 'through a tunnel already',
      facts: { ...INSTALLED, dials: [] },
      wanted: { tunnel, known: { ...KNOWN, sessionAddresses: ['127.0.0.1:7433'] } },
      want: 'tunnel wait',
    },
    {
      name: 'no tunnel any more',
      facts: INSTALLED,
      wanted: { known: { ...KNOWN, sessionAddresses: ['127.0.0.1:7433'] } },
      want: 'join start wait',
    },
    {
      name: 'an upgrade gives no identity',
      facts: FRESH,
      wanted: { verb: 'upgrade' },
      want: 'copy activate start wait',
    },
  ];
  for (const { name, facts, wanted, want } of cases) {
    const steps = planDom0(facts, { ...WANTED, ...wanted });
    t.equal(steps.map(({ kind }) => kind).join(' '), want, name);
  }
  const [copy] = planDom0({ ...INSTALLED, ...old }, WANTED);
  t.strictSame(copy, { kind: 'copy', withNode: false, nodeFrom: '1.0.0+99' }, 'a Node that is there is not sent again');
  t.end();
});

t.test('what stands against it is said before anything is changed', (t) => {
  const dial = (outcome: 'timeout' | 'refused' | 'unknown-name'): Dom0Facts['dials'] => [
    { kind: 'session', host: '10.0.0.1', port: 7433, outcome: 'open' },
    { kind: 'join', host: '10.0.0.1', port: 7434, outcome },
  ];
  const cases: { name: string; change: Partial<Dom0Facts>; code: string; says: RegExp }[] = [
    { name: 'not root', change: { isRoot: false }, code: 'forbidden', says: /not root/ },
    { name: 'arm', change: { arch: 'aarch64' }, code: 'wrong_state', says: /aarch64.*x86_64/ },
    { name: 'old glibc', change: { glibc: '2.19' }, code: 'wrong_state', says: /glibc 2\.19.*2\.28/ },
    { name: 'musl', change: { glibc: '' }, code: 'wrong_state', says: /no glibc/ },
    { name: 'a glibc that sorts before as text', change: { glibc: '2.4' }, code: 'wrong_state', says: /2\.4/ },
    { name: 'no tar', change: { missing: ['tar'] }, code: 'wrong_state', says: /no tar/ },
    { name: 'sysvinit', change: { hasSystemd: false }, code: 'wrong_state', says: /no systemd/ },
    { name: 'no Xen', change: { xen: 'none' }, code: 'wrong_state', says: /not booted under Xen/ },
    { name: 'a domU', change: { xen: 'other' }, code: 'wrong_state', says: /no dom0/ },
    { name: 'no xl', change: { hasXl: false }, code: 'wrong_state', says: /no xl/ },
    { name: 'no space', change: { optFreeKib: 100_000 }, code: 'wrong_state', says: /97 MiB free in \/opt, 131 MiB/ },
    { name: 'no space in /var', change: { varFreeKib: 10 }, code: 'wrong_state', says: /\/var\/lib/ },
    { name: 'a clock in the past', change: { nowS: NOW_S - 3_600 }, code: 'wrong_state', says: /60 minutes behind/ },
    {
      name: 'a firewall',
      change: { dials: dial('timeout') },
      code: 'unavailable',
      says: /10\.0\.0\.1:7434 \(no answer/,
    },
    { name: 'a closed port', change: { dials: dial('refused') }, code: 'unavailable', says: /7434 \(refused/ },
    { name: 'a name', change: { dials: dial('unknown-name') }, code: 'unavailable', says: /cannot resolve this name/ },
  ];
  for (const { name, change, code, says } of cases) {
    const error = failure(() => planDom0({ ...FRESH, ...change }, WANTED));
    t.match(error, { code, message: says }, name);
    t.ok(error.details['hint'], `${name}: with what to do`);
  }
  t.match(failure(() => planDom0({ ...FRESH, dials: dial('timeout') }, WANTED)).details, { hint: /--via ssh/ });
  const unknown = failure(() => planDom0({ ...FRESH, dials: dial('unknown-name') }, WANTED));
  t.match(unknown.details, { hint: /--advertise and an address/ }, 'no port need be opened for a name');
  const tunnel = { session: 7433, join: 7434 };
  t.doesNotThrow(() => planDom0({ ...FRESH, dials: [] }, { ...WANTED, tunnel }), 'a tunnel needs no open port');
  t.doesNotThrow(
    () => planDom0({ ...FRESH, xen: 'none', hasXl: false, agentOptions: '--toolstack sim' }, WANTED),
    'a machine to try things out on',
  );
  t.doesNotThrow(() => planDom0({ ...INSTALLED, optFreeKib: 10 }, WANTED), 'nothing is copied, so no space is needed');
  t.end();
});

function failure(act: () => unknown): AppError {
  try {
    act();
  } catch (error) {
    return toAppError(error);
  }
  throw new Error('it did not fail');
}

t.test('what ssh says is told in our words, with what to do', (t) => {
  const result = (exitCode: number, stderr: string): ExecResult => ({
    ...{ kind: 'failed', exitCode, endSignal: undefined, argv: ['ssh'], stdout: Buffer.alloc(0), stderr },
  });
  // Of OpenSSH 9.2p1.
  const cases: { said: string; exitCode?: number; code: string; message: RegExp }[] = [
    {
      said: '@@@@\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n@@@@\nHost key verification failed.\r\n',
      code: 'unauthenticated',
      message: /another host key/,
    },
    { said: 'root@n1: Permission denied (publickey).\r\n', code: 'unauthenticated', message: /root@n1 does not let/ },
    {
      said: 'ssh: Could not resolve hostname n1: Name or service not known\r\n',
      code: 'not_found',
      message: /no host n1/,
    },
    { said: 'ssh: connect to host n1 port 22: Connection refused\r\n', code: 'unavailable', message: /refuses ssh/ },
    { said: 'ssh: connect to host n1 port 22: Connection timed out\r\n', code: 'timeout', message: /does not answer/ },
    { said: 'ssh: connect to host n1 port 22: No route to host\r\n', code: 'unavailable', message: /no route/ },
    {
      said: 'kex_exchange_identification: Connection closed by remote host\r\n',
      code: 'unavailable',
      message: /closed/,
    },
    { said: '/h/.ssh/config: line 1: Bad configuration option: x\r\n', code: 'invalid', message: /configuration/ },
    { said: 'something new', code: 'unavailable', message: /something new/ },
    { said: 'sudo: a password is required\n', exitCode: 1, code: 'forbidden', message: /may not become root/ },
    { said: 'sh: 1: bash: not found\n', exitCode: 127, code: 'wrong_state', message: /no bash/ },
  ];
  for (const { said, exitCode = 255, code, message } of cases) {
    const error = sshFailure(result(exitCode, said), 'n1', 'root');
    t.match(error, { code, message }, said);
    t.ok(error?.details['hint'], said);
  }
  t.equal(sshFailure(result(64, 'noise'), 'n1', 'root'), undefined, 'the script itself said no');
  t.equal(sshFailure({ ...result(0, ''), kind: 'ok' }, 'n1', 'root'), undefined);
  t.equal(sshFailure({ ...result(0, ''), kind: 'missing' }, 'n1', 'root')?.code, 'not_found');
  t.end();
});

t.test('ssh asks nothing, and keeps its keys in a file of our own', (t) => {
  const options = sshOptions({ host: 'n1', user: 'me', sshConfig: '/c', knownHosts: '/a b/50%/n1.known_hosts' });
  t.match(options.join(' '), /^-F \/c -T -l me .*-o BatchMode=yes/);
  t.ok(options.includes('UserKnownHostsFile="/a b/50%%/n1.known_hosts"'));
  t.ok(options.includes('StrictHostKeyChecking=accept-new'));
  t.end();
});

t.test('how a dom0 is reached is kept', async (t) => {
  const dir = t.testdir({});
  const folder = new Dom0Folder(join(dir, 'data'));
  await folder.make();
  const record: Dom0Record = { user: 'me', sshConfig: null, jobId: '42', tunnel: null };
  t.equal(await folder.load('n1'), undefined);
  await folder.save('n1', record);
  t.strictSame(await folder.load('n1'), record);
  t.strictSame(await folder.list(), ['n1']);
  const keys = folder.knownHostsPath('n1');
  execFileSync('sh', ['-c', 'echo key > "$0"', keys]);
  await folder.forgetKeys('n1');
  await folder.forgetKeys('n1');
  t.equal(readFileSync(`${keys}.old`, 'utf8'), 'key\n', 'the former key can be looked up');
  await folder.forget('n1');
  t.strictSame(execFileSync('ls', [folder.path]).toString(), '');
});

t.test('where agents find the controller', (t) => {
  const facts = { listen: '0.0.0.0:7433', joinListen: '[::]:7434', advertised: ['10.0.0.1:7433', '[fd00::1]:7433'] };
  t.strictSame(endpointsOf(facts).join, [
    { host: '10.0.0.1', port: 7434 },
    { host: 'fd00::1', port: 7434 },
  ]);
  t.throws(() => endpointsOf({ ...facts, joinListen: '' }), {
    code: 'wrong_state',
    details: { hint: /--join-listen/ },
  });
  t.throws(() => endpointsOf({ ...facts, advertised: [] }), { code: 'wrong_state', details: { hint: /--advertise/ } });
  t.end();
});

t.test('many hosts at once, no more than the limit', async (t) => {
  let now = 0;
  let most = 0;
  const results = await fanOut([5, 1, 4, 2, 3], 2, async (n) => {
    most = Math.max(most, (now += 1));
    for (let turn = 0; turn < n; turn += 1) await Promise.resolve();
    now -= 1;
    return n * 10;
  });
  t.strictSame(results, [50, 10, 40, 20, 30], 'in the order of the items');
  t.equal(most, 2);
});

t.test('the exit code of many', (t) => {
  const [a, b] = [new AppError('timeout', 'a'), new AppError('not_found', 'b')];
  t.equal(exitCodeOfAll([]), 0);
  t.equal(exitCodeOfAll([undefined, undefined]), 0);
  t.equal(exitCodeOfAll([a, a]), 8);
  t.equal(exitCodeOfAll([a, b]), 10);
  t.equal(exitCodeOfAll([undefined, a]), 10);
  t.end();
});
