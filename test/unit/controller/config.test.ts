import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { buildConfig, parseSettings, readEnvironment, readSettings } from '../../../controller/config.js';
import { AppError } from '../../../shared/errors.js';

const ROOT = join(import.meta.dirname, '..', '..', '..');
const ALICE = { uid: 1000, home: '/home/alice', xdgDataHome: undefined, xdgRuntimeDir: undefined };

function failure(work: () => unknown): AppError | undefined {
  try {
    work();
    return undefined;
  } catch (error) {
    if (error instanceof AppError) return error;
    throw error;
  }
}

t.test('the example has every key, and is right', (t) => {
  const file = join(ROOT, 'deploy', 'controller.example.json');
  const settings = readSettings(file);
  const config = buildConfig([settings], ALICE);
  t.strictSame(Object.keys(settings).sort(), Object.keys(config).sort());
  t.end();
});

t.test('defaults', (t) => {
  const config = buildConfig([], ALICE);
  t.match(config, {
    dataDir: '/home/alice/.local/share/domherd',
    socket: '/home/alice/.local/share/domherd/run/controller.sock',
    listen: { host: '0.0.0.0', port: 7433 },
    joinListen: { host: '0.0.0.0', port: 7434 },
    advertise: [],
    logLevel: 'info',
    heartbeatMs: 10_000,
    lostAfterMs: 30_000,
  });
  t.ok(Object.isFrozen(config));
  t.end();
});

t.test('the last layer that says something wins', (t) => {
  const file = parseSettings({ dataDir: '/file', listen: '10.0.0.1:1', logLevel: 'warn' }, 'file');
  const env = readEnvironment({
    DOMHERD_DATA_DIR: '/env',
    DOMHERD_LISTEN: 'off',
    DOMHERD_ADVERTISE: 'a.example,10.0.0.1',
  });
  const flags = parseSettings({ dataDir: '/flag' }, 'command line');
  t.match(buildConfig([file, env, flags], ALICE), {
    dataDir: '/flag',
    listen: undefined,
    logLevel: 'warn',
    advertise: ['a.example', '10.0.0.1'],
    socket: '/flag/run/controller.sock',
  });
  t.end();
});

t.test('an empty variable says nothing', (t) => {
  t.strictSame(readEnvironment({ DOMHERD_DATA_DIR: '', DOMHERD_LISTEN: '' }), {});
  t.end();
});

t.test('all faults are told at once, each with its key', (t) => {
  const input = {
    listne: 'x',
    listen: 'nonsense',
    heartbeatMs: 50,
    lostAfterMs: 'soon',
    advertise: ['ok', 'a b'],
    logLevel: 1,
  };
  const error = failure(() => parseSettings(input, '/etc/x.json'));
  t.equal(error?.code, 'invalid');
  const [head, ...lines] = error?.message.split('\n') ?? [];
  t.equal(head, '/etc/x.json: 6 problems');
  t.equal(lines.length, 6);
  const told = lines.join('\n');
  t.match(told, /^ {2}listne +unknown key; did you mean listen\?$/m);
  t.match(told, /^ {2}listen +"nonsense" is not an address/m);
  t.match(told, /^ {2}heartbeatMs +50 is below the minimum 100$/m);
  t.match(told, /^ {2}lostAfterMs +expected a number$/m);
  t.match(told, /^ {2}advertise\.1 +\S/m);
  t.match(told, /^ {2}logLevel +expected one of/m);
  t.end();
});

t.test('numbers that make no sense together', (t) => {
  t.equal(failure(() => parseSettings({ heartbeatMs: 20_000 }, 'file'))?.code, 'invalid', 'with the default');
  t.equal(
    failure(() => parseSettings({ heartbeatMs: 20_000, lostAfterMs: 40_000 }, 'file')),
    undefined,
  );
  t.end();
});

for (const input of [null, [], 'text', 1]) {
  t.test(`${JSON.stringify(input)} is no settings`, (t) => {
    t.equal(failure(() => parseSettings(input, 'file'))?.code, 'invalid');
    t.end();
  });
}

t.test('files', (t) => {
  const dir = t.testdir({ 'broken.json': '{', 'empty.json': '{}' });
  t.equal(failure(() => readSettings(join(dir, 'missing.json')))?.code, 'not_found');
  t.equal(failure(() => readSettings(join(dir, 'broken.json')))?.code, 'invalid');
  t.strictSame(readSettings(join(dir, 'empty.json')), {});
  t.end();
});

t.test('the unit starts what there is, with flags that there are', (t) => {
  const units = join(ROOT, 'deploy', 'systemd');
  t.ok(readdirSync(units).includes('domherd-controller.service'));
  const unit = readFileSync(join(units, 'domherd-controller.service'), 'utf8');
  const main = readFileSync(join(ROOT, 'controller', 'main.ts'), 'utf8');
  const command = /^ExecStart=(.*)$/m.exec(unit)?.[1] ?? '';
  const flags = [...command.matchAll(/--[a-z-]+/g)].map(([flag]) => flag);
  t.strictSame(flags, ['--data-dir', '--socket']);
  for (const flag of flags) t.ok(main.includes(`'${flag} <`), flag);
  t.match(unit, /^NotifyAccess=all$/m, 'systemd-notify is a child');
  t.notMatch(unit, /^MemoryDenyWriteExecute=/m);
  t.end();
});
