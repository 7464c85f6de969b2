import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { status } from '@grpc/grpc-js';
import fc from 'fast-check';
import t from 'tap';
import { createProgram } from '../../../agent/program.js';
import { formatJoinToken, parseJoinToken, type JoinToken } from '../../../shared/domain/join-token.js';
import {
  defaultDataDir,
  defaultSocketPath,
  socketCandidates,
  type Account,
} from '../../../shared/domain/socket-path.js';
import { AppError, ERROR_CODES } from '../../../shared/errors.js';
import { EXIT_CODE } from '../../../shared/exit-code.js';
import { GRPC_STATUS } from '../../../shared/grpc/status.js';
import { createLog } from '../../../shared/log.js';

const ROOT = join(import.meta.dirname, '..', '..', '..');

function codeOf(work: () => unknown): string {
  try {
    work();
    return 'nothing was thrown';
  } catch (error) {
    return error instanceof AppError ? error.code : String(error);
  }
}

t.test('errors', (t) => {
  const rows = readFileSync(join(ROOT, 'docs', 'errors.md'), 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .map((line) => line.split('|').map((cell) => cell.trim()));

  t.test('every code has a row, with its status and exit code', (t) => {
    for (const code of ERROR_CODES) {
      const row = rows.find(([, name]) => name === `\`${code}\``);
      const number = GRPC_STATUS[code];
      t.equal(row?.[2], `${status[number]} (${String(number)})`, code);
      t.equal(row?.[5], String(EXIT_CODE[code]), code);
    }
    t.equal(rows.length, ERROR_CODES.length, 'no row is stale');
    t.end();
  });

  t.test('a failure is never exit code 0, and never that of a partial one', (t) => {
    for (const code of ERROR_CODES) t.notOk([0, EXIT_CODE.partial].includes(EXIT_CODE[code]), code);
    t.end();
  });

  t.test('no two codes share a gRPC status', (t) => {
    t.equal(new Set(Object.values(GRPC_STATUS)).size, ERROR_CODES.length);
    t.end();
  });
  t.end();
});

t.test('join token', (t) => {
  const hex64 = fc.string({ unit: fc.constantFrom(...'0123456789abcdef'), minLength: 64, maxLength: 64 });
  const token: fc.Arbitrary<JoinToken> = fc.record(
    {
      secret: hex64,
      caPin: hex64,
      joinAddresses: fc.array(
        fc
          .tuple(fc.constantFrom('10.0.0.1', 'frontend.example', '[2001:db8::1]'), fc.nat(65_535))
          .map((x) => x.join(':')),
        { minLength: 1, maxLength: 4 },
      ),
      hostPattern: fc.constantFrom('dom0-1', 'dom0-*', '*', '*.grenoble.example'),
    },
    { noNullPrototype: true },
  );

  t.test('parse is the inverse of format', (t) => {
    fc.assert(
      fc.property(token, (one) => t.strictSame(parseJoinToken(formatJoinToken(one)), one)),
      { numRuns: 50 },
    );
    t.end();
  });

  t.test('one that was cut anywhere is refused, and its text is not told', (t) => {
    fc.assert(
      fc.property(token, fc.nat(80), (one, cut) => {
        const text = formatJoinToken(one).slice(0, -1 - cut * 2);
        try {
          const read = parseJoinToken(text);
          // The last field is free text: a token that lost some of it is for another host, and the controller says so.
          t.equal(read.secret, one.secret);
        } catch (error) {
          t.equal((error as AppError).code, 'invalid');
          t.notMatch((error as AppError).message, new RegExp(one.secret.slice(0, 16)));
        }
      }),
      { numRuns: 100 },
    );
    t.end();
  });

  for (const text of ['', 'dh1.', 'dh2.abcd', 'hello', 'dh1.!!!!', 'dh1.aGVsbG8']) {
    t.test(`"${text}" is refused`, (t) => {
      t.equal(
        codeOf(() => parseJoinToken(text)),
        'invalid',
      );
      t.end();
    });
  }
  t.end();
});

t.test('socket path', (t) => {
  const alice: Account = { uid: 1000, home: '/home/alice', xdgDataHome: undefined, xdgRuntimeDir: undefined };
  const cases: { name: string; account: Account; data: string; socket: string }[] = [
    {
      name: 'root has the system one, whatever the environment',
      account: { ...alice, uid: 0, xdgDataHome: '/x', xdgRuntimeDir: '/run/user/0' },
      data: '/var/lib/domherd',
      socket: '/run/domherd/controller.sock',
    },
    {
      name: 'a login has a runtime folder',
      account: { ...alice, xdgRuntimeDir: '/run/user/1000' },
      data: '/home/alice/.local/share/domherd',
      socket: '/run/user/1000/domherd/controller.sock',
    },
    {
      name: 'a cron job has none',
      account: alice,
      data: '/home/alice/.local/share/domherd',
      socket: '/home/alice/.local/share/domherd/run/controller.sock',
    },
    {
      name: 'the data folder may be elsewhere',
      account: { ...alice, xdgDataHome: '/scratch' },
      data: '/scratch/domherd',
      socket: '/scratch/domherd/run/controller.sock',
    },
  ];
  for (const { name, account, data, socket } of cases) {
    t.test(name, (t) => {
      t.equal(defaultDataDir(account), data);
      t.equal(defaultSocketPath(account), socket);
      t.equal(socketCandidates(account)[0], socket, 'a client looks there first');
      t.ok(socketCandidates(account).includes('/run/domherd/controller.sock'), 'and at the system one at last');
      t.end();
    });
  }
  t.test('a login finds what a cron job started', (t) => {
    const login = { ...alice, xdgRuntimeDir: '/run/user/1000' };
    t.ok(socketCandidates(login).includes(defaultSocketPath(alice)));
    t.end();
  });
  t.end();
});

t.test('log', (t) => {
  const lines: string[] = [];
  const log = createLog('test-program', 'debug', { write: (line) => void lines.push(line) });
  log.info(
    { token: 'S3CRET', request: { tokenSecret: 'S3CRET', csr: 'S3CRET', privateKey: 'S3CRET' }, host: 'dom0-1' },
    'host joins',
  );
  const [line = ''] = lines;
  const parsed = JSON.parse(line) as Record<string, unknown>;

  t.notMatch(line, /S3CRET/, 'no secret is in a line');
  t.equal(parsed['host'], 'dom0-1', 'the rest is');
  t.match(parsed, { name: 'test-program', level: 'info', msg: 'host joins', time: /^\d{4}-\d\d-\d\dT/ });
  log.trace('not asked for');
  t.equal(lines.length, 1);
  t.end();
});

t.test('every help of the agent has examples, and each of them is a command line that it takes', async (t) => {
  const ran: string[] = [];
  const note = (name: string) => () => Promise.resolve(void ran.push(name));
  const commands = {
    ...{ run: note('run'), join: note('join'), status: note('status') },
    ...{ boot: note('boot'), release: note('release') },
  };
  const names = Object.keys(commands);
  for (const name of ['', ...names]) {
    let help = '';
    const program = createProgram(commands);
    const command = program.commands.find((one) => one.name() === name) ?? program;
    command.configureOutput({ writeOut: (text) => (help += text) });
    command.outputHelp();
    const [, listed = ''] = help.split('Examples:\n');
    const examples = listed.split('\n').filter((line) => line !== '');
    t.ok(examples.length > 0, `domherd-agent ${name}`);
    for (const example of examples) {
      const argv = /domherd-agent (.*)$/.exec(example)?.[1]?.split(' ') ?? [];
      await createProgram(commands).parseAsync(argv, { from: 'user' });
      t.equal(ran.at(-1), name || argv[0], example);
    }
  }
  t.strictSame([...new Set(ran)].sort(), [...names].sort());
});
