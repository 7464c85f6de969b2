import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { pushScript } from '../../controller/cli/keys-push-action.js';
import { keysToPush, userKeys } from '../../controller/cli/guest/user-key.js';
import type { Invocation } from '../../controller/cli/invocation.js';
import { createExec } from '../../shared/exec.js';
import { FleetCli } from '../harness/fleet-cli.js';
import { makeSshKey } from '../harness/dom0-jail.js';

const [A, B, C] = ['A', 'B', 'C'].map(
  (last) => `ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKYnmmOsCJEGsI325IjJzdvLDKHTcjouAb7EMdr0SFd${last}`,
) as [string, string, string];

function callOf(home: string): { readonly call: Invocation; readonly said: string[] } {
  const said: string[] = [];
  const world = { stderr: { write: (text: string) => said.push(text) }, user: () => ({ uid: 1, home, name: 'me' }) };
  return { call: { world } as unknown as Invocation, said };
}

t.test('the keys of a user', async (t) => {
  const home = t.testdir({
    '.ssh': {
      'id_ed25519.pub': `${A} me@frontend\n`,
      'id_ed25519-cert.pub': 'ssh-ed25519-cert-v01@openssh.com AAAA me\n',
      'other.pub': `${B}\n`,
      id_ed25519: '-----BEGIN OPENSSH PRIVATE KEY-----\n',
      authorized_keys: `# mine\n\n${A} the same\nfrom="10.0.0.0/8" ${C}\n`,
    },
    'colleague.pub': `${C} colleague\r\n${B} other\n`,
    empty: '# nothing\n',
    broken: `${A}\nwhat?\n`,
  });
  const file = (name: string): string => join(home, name);
  const { call } = callOf(home);
  const said: string[] = [];
  const note = (text: string): void => void said.push(text);
  t.strictSame(await userKeys(call, {}, note), [`${A} me@frontend`, B]);
  t.match(said.join(''), /id_ed25519-cert\.pub: a line is left out[^]*authorized_keys: a line is left out/);
  t.strictSame(await userKeys(call, { keys: false }, note), []);
  t.strictSame(await userKeys(call, { key: [file('colleague.pub')] }, note), [`${A} me@frontend`, B, `${C} colleague`]);
  t.strictSame(await keysToPush(call, [file('colleague.pub'), file('colleague.pub')]), [
    `${C} colleague`,
    `${B} other`,
  ]);
  for (const [name, error] of [
    ['.ssh/id_ed25519', { code: 'invalid', message: /private key/, details: { hint: /id_ed25519\.pub$/ } }],
    ['missing', { code: 'not_found', details: { hint: /\.pub/ } }],
    ['empty', { code: 'invalid', message: /no key/ }],
    ['broken', { code: 'invalid', message: /broken, key 2: "what\?" is no ssh public key/ }],
    ['.ssh', { code: 'not_found' }],
  ] as const) {
    await t.rejects(userKeys(call, { key: [file(name)] }, note), error, name);
    await t.rejects(keysToPush(call, [file(name)]), error, name);
  }
  const bare = callOf(t.testdir({}));
  t.strictSame(await userKeys(bare.call, {}, note), []);
  t.match(said.at(-1), /there is none in ~\/\.ssh/);
  await t.rejects(keysToPush(bare.call, []), { code: 'not_found', details: { hint: /--key FILE/ } });
});

t.test('what is pushed is appended once, by any shell', async (t) => {
  const shells: readonly (readonly [string, ...string[]])[] = [['sh'], ['bash'], ['busybox', 'sh']];
  for (const shell of shells) {
    const home = t.testdir({});
    const exec = createExec({ PATH: process.env['PATH'], HOME: home });
    const push = async (...lines: string[]): Promise<string> => {
      const result = await exec.run([...shell, '-c', pushScript(lines)] as [string, ...string[]], {
        timeoutMs: 20_000,
      });
      return `${result.kind} ${result.stdout.toString()}`;
    };
    const path = join(home, '.ssh', 'authorized_keys');
    t.equal(await push(`${A} it's me "quoted" $HOME \\n`), 'ok added 1\n', shell.join(' '));
    t.equal(readFileSync(path, 'utf8'), `${A} it's me "quoted" $HOME \\n\n`);
    t.equal(await push(`${A} me`, `${B} b`), 'ok added 1\n');
    t.equal(await push(`${A} me`, `${B} b`), 'ok added 0\n');
    t.equal(statSync(path).mode & 0o777, 0o600);
    t.equal(statSync(join(home, '.ssh')).mode & 0o777, 0o700);
    writeFileSync(path, `command="x" ${A}\n# ${B}\nno newline`);
    t.equal(await push(A, B), 'ok added 1\n');
    t.equal(readFileSync(path, 'utf8'), `command="x" ${A}\n# ${B}\nno newline\n${B}\n`);
  }
});

t.test('vm create and keys push refuse what is no public key, before anything is made', async (t) => {
  const home = t.testdir({});
  mkdirSync(join(home, '.ssh'));
  const key = makeSshKey(join(home, '.ssh', 'id_ed25519'));
  const fleet = new FleetCli();
  await fleet.start(['dom0-1'], 1);
  t.teardown(() => fleet.fleet.stop());
  for (const [args, message] of [
    [`vm create web --like domU --key ${key}`, /is a private key[^]*hint: give the public one: .*\.pub/],
    ['vm create web --like domU --key /nonexistent.pub', /nonexistent\.pub cannot be read/],
    [`vm create web --like domU --no-keys --key ${key}.pub`, /--no-keys|--key/],
    [`vm clone domU web --key ${key}`, /is a private key/],
    [`keys push --all --key ${key}`, /is a private key/],
    ['keys push', /no VM is named/],
    ['keys push --all --max 0', /1 to 1000/],
    ['keys push --all --timeout 2d', /duration of 1s to 1d/],
    ['keys push --all domU', /exclude each other/],
    ['keys push domU -o ips', /makes no sense/],
  ] as const) {
    const { exitCode, err } = await fleet.run(args, { home });
    t.not(exitCode, 0, args);
    t.match(err, message, args);
  }
  const bare = { home: join(home, 'none') };
  for (const args of ['vm create web --like nobody', 'vm create web --like domU --memory 1000000']) {
    t.notMatch(await fleet.run(args, bare), { err: /ssh key/ }, `${args}: what is refused lets nobody in anyway`);
  }
  await fleet.ok('reservation import - --name job --ends +4h', { stdin: '10.180.0.0/22\n' });
  const dry = await fleet.run('vm clone domU web --dry-run', bare);
  t.match(dry, { exitCode: 0, err: /no ssh key of yours is put into VMs/ });
  t.equal(dry.err.split('no ssh key').length, 2, 'once');
  t.match(await fleet.run('keys push domU', { home }), { exitCode: 255, out: /domU@dom0-1 +it is simulated/ });
  t.equal((await fleet.rows('vm list')).length, 1);
});
