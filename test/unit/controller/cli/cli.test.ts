import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Command } from 'commander';
import t from 'tap';
import ts from 'typescript';
import { completeWords } from '../../../../controller/cli/completion-words.js';
import { LogText } from '../../../../controller/cli/log-text.js';
import { describeMoment, parseMoment } from '../../../../controller/cli/moment.js';
import { formatTable } from '../../../../controller/cli/output.js';
import { buildProgram, globalOptions, NOUNS, PLAIN_VERBS } from '../../../../controller/cli/program.js';
import { inUserWords } from '../../../../controller/cli/user-words.js';
import type { World } from '../../../../controller/cli/world.js';
import { exitCodeOf, showProgress } from '../../../../controller/cli/vm-progress.js';
import { INSPECTED_VIEW, inspectedBlocks, NOTHING_SEEN } from '../../../../controller/cli/view/look-view.js';
import { Event } from '../../../../shared/gen/domherd/v1/event.js';
import { Vm, type VmProgress, type VmResult } from '../../../../shared/gen/domherd/v1/vm.js';
import { printable } from '../../../../shared/domain/printable.js';
import { AppError } from '../../../../shared/errors.js';
import { formatFailure } from '../../../../shared/failure-text.js';
import { runCli as runAnyCli, type CliRun } from '../../../fakes/cli-run.js';

/** A command line in a world without a controller. */
function runCli(args: readonly string[]): Promise<CliRun> {
  return runAnyCli(args, { env: { DOMHERD_SOCKET: '/nonexistent/domherd.sock' } });
}

t.test('a time is read in the local zone', (t) => {
  const now = Date.parse('2026-11-23T12:00:00Z'); // 13:00 in Paris
  const cases = [
    { text: '20:00', want: '2026-11-23T19:00:00.000Z' },
    { text: '13:00', want: '2026-11-24T12:00:00.000Z' },
    { text: '9:05', want: '2026-11-24T08:05:00.000Z' },
    { text: '+2h30m', want: '2026-11-23T14:30:00.000Z' },
    { text: '2026-11-25T08:00+02:00', want: '2026-11-25T06:00:00.000Z' },
  ];
  for (const { text, want } of cases) {
    t.equal(new Date(parseMoment(text, now, 'Europe/Paris')).toISOString(), want, text);
  }
  for (const text of ['25:00', '20:60', 'tonight', '2026-02-30T10:00Z', '2026-11-25', '']) {
    t.throws(() => parseMoment(text, now, 'Europe/Paris'), { code: 'invalid' }, text);
  }
  t.match(
    describeMoment(parseMoment('20:00', now, 'Europe/Paris'), now, 'Europe/Paris'),
    /Mon 2026-11-23 20:00 CET, in 7h/,
  );
  t.end();
});

t.test('an hour that the clocks skip or show twice', (t) => {
  const spring = Date.parse('2026-03-28T12:00:00Z');
  t.equal(new Date(parseMoment('02:30', spring, 'Europe/Paris')).toISOString(), '2026-03-30T00:30:00.000Z', 'skipped');
  const autumn = Date.parse('2026-10-25T00:45:00Z');
  t.equal(new Date(parseMoment('02:30', autumn, 'Europe/Paris')).toISOString(), '2026-10-25T01:30:00.000Z', 'twice');
  t.end();
});

t.test('tables have aligned columns without colour or borders', (t) => {
  const columns = [
    { title: 'NAME', text: (row: string) => row },
    { title: 'LENGTH', text: (row: string) => String(row.length) },
  ];
  t.equal(formatTable(['a', 'longer'], columns, true, false), 'NAME    LENGTH\na       1\nlonger  6\n');
  t.equal(formatTable(['a'], columns, false, false), 'a  1\n');
  t.equal(formatTable([], columns, false, false), '');
  t.end();
});

t.test('text from elsewhere cannot move the cursor', (t) => {
  t.equal(printable('a\u001b[2Jb\nc'), 'a\\u{1b}[2Jb\\u{a}c');
  t.end();
});

t.test('what a guest wrote on its console cannot do a terminal harm', (t) => {
  const shown = (isColoured: boolean, ...pieces: (string | Buffer)[]): string => {
    const text = new LogText(isColoured);
    return pieces.map((piece) => text.push(Buffer.from(piece as string))).join('') + text.end();
  };
  const cases = [
    { name: 'lines', pieces: ['a\r\nb\tc\n'], want: 'a\nb\tc\n' },
    { name: 'a title', pieces: ['\u001b]0;pwned\u0007a\u001b]2;x\u001b\\b\n'], want: 'ab\n' },
    { name: 'a question', pieces: ['a\u001b[6n\u001b[c\u001bZb\n'], want: 'ab\n' },
    { name: 'a moved cursor', pieces: ['a\u001b[2J\u001b[1;1H\u001b(Bb\n'], want: 'ab\n' },
    { name: 'a device control string', pieces: ['\u001bP$q"p\u001b\\b\n'], want: 'b\n' },
    { name: 'C1 controls, a bell, a null', pieces: ['\u009b2Ja\u0007\u0000\u0008b\n'], want: '2Jab\n' },
    { name: 'text that runs backwards', pieces: ['a\u202eb\n'], want: 'ab\n' },
    { name: 'a line that is written over', pieces: ['10%\r20%\n'], want: '10%\n20%\n' },
    { name: 'a sequence in two pieces', pieces: ['a\u001b[', '2Jb\n'], want: 'ab\n' },
    { name: 'a character in two pieces', pieces: [Buffer.from([0xc3]), Buffer.from([0xa9, 10])], want: 'é\n' },
    { name: 'one that is not ended', pieces: ['a\u001b]0;never\n', 'b\u001b['], want: 'a\nb\n' },
    { name: 'colours', pieces: ['\u001b[1;31ma\u001b[m\n'], want: 'a\n' },
  ];
  for (const { name, pieces, want } of cases) t.equal(shown(false, ...pieces), want, name);
  t.equal(shown(true, '\u001b[1;31mred\nplain\n'), '\u001b[1;31mred\u001b[0m\nplain\n', 'colours end with the line');
  t.equal(shown(true, '\u001b[8;1H\u001b[>4;2mx\n'), 'x\n', 'what only looks like one');
  t.equal(shown(false, 'y'.repeat(70_000)).length, 70_000, 'a line without end');
  t.end();
});

t.test('an error has message, hint and the facts that the message does not tell', (t) => {
  const error = new AppError('exhausted', 'pool job42 is full', { hint: 'release some', size: '1022', name: 'job42' });
  t.equal(formatFailure('domherd', error, 'x'), 'domherd: pool job42 is full\nhint: release some\n  size: 1022\n');
  const forged = new AppError('invalid', 'no\nhint: rm -rf /\u001b[2J');
  t.equal(
    formatFailure('domherd', forged, 'see --help'),
    'domherd: no\n  hint: rm -rf /\\u{1b}[2J\nhint: see --help\n',
  );
  t.end();
});

t.test('the exit code of several results', (t) => {
  const nothing = { message: '', details: {}, state: undefined, warnings: [] };
  const result = (errorCode: string) => ({ vm: 'a', host: 'b', errorCode, ...nothing });
  t.equal(exitCodeOf([]), 0);
  t.equal(exitCodeOf([result(''), result('')]), 0);
  t.equal(exitCodeOf([result(''), result('wrong_state')]), 10);
  t.equal(exitCodeOf([result('wrong_state'), result('wrong_state')]), 5);
  t.equal(exitCodeOf([result('timeout'), result('wrong_state')]), 10);
  t.end();
});

interface Shown {
  readonly exitCode: number;
  readonly out: string;
  readonly err: string;
}

/** @param isDumb whether stderr is a terminal whose cursor cannot move; else it is none */
async function show(format: 'json' | 'table' | 'name', results: readonly VmResult[], isDumb = false): Promise<Shown> {
  async function* stream(): AsyncGenerator<VmProgress> {
    for (const value of results) yield await Promise.resolve({ progress: { $case: 'result', value } });
  }
  const out: string[] = [];
  const err: string[] = [];
  const world = {
    stdout: { write: (text: string) => out.push(text) },
    stderr: { write: (text: string) => err.push(text), isTTY: isDumb },
  };
  const call = {
    world: { ...world, env: { TERM: 'dumb' }, nowMs: () => 0 } as unknown as World,
    global: { headers: true },
    format,
    writeData: (data: unknown) => `${JSON.stringify(data)}\n`,
    line: [],
    trailing: [],
    requestId: 'r',
  };
  const exitCode = await showProgress(call, stream(), false);
  return { exitCode, out: out.join(''), err: err.join('') };
}

const DONE = { vm: 'domU', host: 'dom0-1', errorCode: '', message: '', details: {}, state: undefined, warnings: [] };

t.test('what is dangerous in a VM is told once to a person, and to a program in its result', async (t) => {
  const warning = 'root has an empty password\u001b[2J\u009b2J\u{e0041}';
  for (const format of ['json', 'name'] as const) {
    const results = [{ ...DONE, warnings: [warning] }];
    const read = await show(format, results);
    t.match(JSON.parse(read.err), { type: 'result', vm: 'domU@dom0-1', warnings: [warning] });
    t.match(read.err, /^[ -~]+\n$/, 'it may end up on a terminal all the same');
    const seen = await show(format, results, true);
    const told = 'warning: domU@dom0-1: root has an empty password\\u{1b}[2J\\u{9b}2J\\u{e0041}\n';
    t.equal(seen.err, `domU@dom0-1: done\n${told}`);
    t.equal(read.out, seen.out);
    t.match({ read: read.exitCode, seen: seen.exitCode }, { read: 0, seen: 0 });
    if (format === 'json') t.match(JSON.parse(read.out), [{ vm: 'domU@dom0-1', warnings: [warning] }]);
    else t.equal(read.out, 'domU@dom0-1\n');
  }
});

t.test('what a program printed that failed is told aside, before the hints', async (t) => {
  const output = 'libxl: error:\tno\u001b[2J disk\r\nxl: giving up\n';
  const details = { output, notUndone: 'the disk is in use', hint: 'see the path in the output' };
  const failed = { ...DONE, errorCode: 'wrong_state', message: 'xl create failed', details };
  const { err } = await show('table', [failed, { ...DONE, details: { output: 'all is well' } }], true);
  t.match(
    err,
    'domU@dom0-1: what was done could not be undone: the disk is in use\noutput of domU@dom0-1:\n' +
      '  libxl: error:  no\\u{1b}[2J disk\n  xl: giving up\nhint: see the path in the output\n',
  );
  t.notMatch(err, 'all is well');
  t.match(JSON.parse((await show('table', [failed])).err), { hint: details.hint, details });
  t.match(JSON.parse((await show('json', [failed])).out), [{ details: { output } }]);
});

/** Every command with its path, the program itself first. */
function commandsOf(command: Command, path: readonly string[] = []): (readonly string[])[] {
  return [path, ...command.commands.flatMap((child) => commandsOf(child, [...path, child.name()]))];
}

t.test('every command has help with examples, on stdout', async (t) => {
  const world = { stdout: { columns: 80 }, stderr: { columns: 80 } } as unknown as World;
  const paths = commandsOf(buildProgram(world, { exitCode: 0 }));
  t.ok(paths.length > 30, 'all were walked');
  for (const path of paths) {
    const { exitCode, out, err } = await runCli([...path, '--help']);
    const name = ['domherd', ...path].join(' ');
    t.match(out, /Examples:\n {2}\S.*\n/, name);
    t.match(out, name, `${name}: its own`);
    t.strictSame({ exitCode, err }, { exitCode: 0, err: '' }, name);
  }
});

t.test('every example is a command line that the program takes', async (t) => {
  for (const { example, args } of NOUNS.flatMap(({ verbs }) => verbs.flatMap(examplesOf))) {
    const { exitCode, err } = await runCli(args);
    t.not(exitCode, 1, example);
    t.notMatch(err, /unknown|missing|too many|argument|required|did you mean/, example);
  }
});

/** What a shell would make of each `domherd ...` of a verb's examples. */
function examplesOf({ examples }: { readonly examples: readonly string[] }): { example: string; args: string[] }[] {
  return examples.flatMap((example) =>
    example
      .split(/[|>]|&&/)
      .map((part) => part.trim())
      .filter((part) => part.startsWith('domherd '))
      .map((part) => ({ example, args: part.replaceAll(/['"]/g, '').split(/\s+/).slice(1) })),
  );
}

t.test('a field of the wire is told as what a user types', (t) => {
  const cases = [
    { verb: 'lease acquire', field: 'claims[0].owner.name', says: ' is empty', want: 'NAME is empty' },
    { verb: 'lease acquire', field: 'claims[3].mac', says: ': x is no MAC', want: '--mac: x is no MAC' },
    { verb: 'lease release', field: 'addresses[1]', says: ': y', want: 'ADDRESS: y' },
    { verb: 'host token', field: 'ttl_seconds', says: ' is 0', want: '--ttl is 0' },
    { verb: 'vm shutdown', field: 'timeout_seconds', says: ' is 0', want: '--timeout is 0' },
    { verb: 'vm create', field: 'hosts', says: ' are many', want: '--on are many' },
    { verb: 'reservation import', field: 'prefix_length', says: ' is 0', want: '--prefix is 0' },
    { verb: 'vm list', field: 'selector', says: '.names[7] is empty', want: 'VM is empty' },
    { verb: 'version', field: 'odd_thing', says: ' is odd', want: 'odd_thing is odd' },
  ];
  for (const { verb: name, field, says, want } of cases) {
    const all = [
      ...NOUNS.flatMap((noun) => noun.verbs.map((verb) => ({ ...verb, name: `${noun.name} ${verb.name}` }))),
    ];
    const verb = [...all, ...PLAIN_VERBS].find((one) => one.name === name);
    const told = inUserWords(new AppError('invalid', `${field}${says}`, { field, hint: 'h' }), verb ?? { options: [] });
    t.match(told, { code: 'invalid', message: want, details: { hint: 'h' } }, `${name} ${field}`);
  }
  const foreign = new Error('no');
  t.equal(inUserWords(foreign, {}), foreign);
  const sentence = inUserWords(new AppError('invalid', 'an end is past', { field: 'ends_at' }), {});
  t.match(sentence, { message: 'an end is past', details: { field: undefined } });
  t.end();
});

t.test('what is told as JSON can be had as YAML and as a wide table', (t) => {
  const verbs = NOUNS.flatMap(({ name, verbs: all }) => all.map((verb) => ({ ...verb, name: `${name} ${verb.name}` })));
  for (const { name, formats } of [...verbs, ...PLAIN_VERBS]) {
    t.equal(formats.includes('yaml'), formats.includes('json'), name);
    t.equal(formats.includes('wide'), formats.includes('table'), name);
  }
  t.end();
});

t.test('bad input: what, where and what to do', async (t) => {
  const cases = [
    { args: ['vm', 'lst'], exitCode: 2, err: /did you mean list/ },
    { args: ['vm', 'list', '--al'], exitCode: 2, err: /unknown option/ },
    { args: ['vm', 'address'], exitCode: 2, err: /no VM is named\nhint: .*--all/ },
    { args: ['vm', 'start', '--all', 'domU'], exitCode: 2, err: /exclude each other/ },
    { args: ['vm', 'wait', '--all', '--for=booted'], exitCode: 2, err: /running, stopped, ping, ssh/ },
    { args: ['vm', 'destroy', 'domU'], exitCode: 2, err: /--yes/ },
    { args: ['lease', 'next', 'many'], exitCode: 2, err: /not a number of addresses/ },
    { args: ['lease', 'next', '-o', 'name'], exitCode: 2, err: /-o table, .*-o json, .*-o ips/ },
    { args: ['lease', 'release', '10.0.0.1'], exitCode: 2, err: /--yes/ },
    {
      args: ['lease', 'acquire', 'a', '--count', '2', '--mac', '00:16:3e:00:00:01'],
      exitCode: 2,
      err: /leave one of them out/,
    },
    { args: ['lease', 'list', '--state', 'free'], exitCode: 2, err: /pending, bound/ },
    { args: ['reservation', 'import'], exitCode: 2, err: /nothing to read/ },
    { args: ['reservation', 'import', '/nonexistent'], exitCode: 2, err: /cannot be read/ },
    { args: ['reservation', 'import', '-', '--ends', 'tonight'], exitCode: 2, err: /not a point in time/ },
    { args: ['reservation', 'import', '--job', '1;2'], exitCode: 2, err: /not the number of a job/ },
    { args: ['host', 'token', 'a', '--ttl', 'soon'], exitCode: 2, err: /hint: / },
    { args: ['host', 'revoke', 'a'], exitCode: 2, err: /--yes/ },
    { args: ['vm', 'list', '--controller', '127.0.0.1:1'], exitCode: 2, err: /--identity/ },
    { args: ['vm', 'list', '--identity', '/tmp'], exitCode: 2, err: /--identity is for --controller/ },
    { args: ['vm', 'list', '--socket', `/tmp/${'x'.repeat(120)}`], exitCode: 2, err: /125 bytes.*107/ },
    {
      args: ['vm', 'list'],
      exitCode: 8,
      err: /no controller answers at .*\nhint: start one: domherd-controller serve/,
    },
  ];
  for (const { args, exitCode, err } of cases) {
    const result = await runCli(args);
    t.equal(result.exitCode, exitCode, args.join(' '));
    t.match(result.err, err, args.join(' '));
    t.equal(result.out, '', 'nothing on stdout');
  }
});

t.test('an absent controller is part of the answer of version', async (t) => {
  const { exitCode, out } = await runCli(['version']);
  t.equal(exitCode, 0);
  t.match(out, /Controller +not reachable/);
});

t.test('completion', async (t) => {
  const grammar = { nouns: NOUNS, plainVerbs: PLAIN_VERBS, options: globalOptions() };
  const asked: string[] = [];
  const names = new Map([
    ['vm', ['domU@dom0-1', 'web-1@dom0-1']],
    ['host', ['dom0-1', 'dom0-2']],
  ]);
  const complete = async (...words: string[]) => {
    const { candidates, paths } = await completeWords(words, grammar, (named) => {
      asked.push(named);
      return Promise.resolve(names.get(named) ?? [named]);
    });
    return [...candidates.map(({ word }) => word), ...(paths ? [`:${paths}`] : [])];
  };
  for (const noun of NOUNS) {
    t.ok((await complete('')).includes(noun.name), noun.name);
    for (const verb of noun.verbs) {
      t.ok((await complete(noun.name, '')).includes(verb.name), `${noun.name} ${verb.name}`);
      const flags = await complete(noun.name, verb.name, '--');
      for (const { long } of verb.options ?? []) t.ok(flags.includes(String(long)), `${verb.name} ${String(long)}`);
      for (const { long, argChoices } of verb.options ?? []) {
        if (argChoices) t.strictSame(await complete(noun.name, verb.name, String(long), ''), argChoices, String(long));
      }
    }
  }
  asked.length = 0;
  for (const [line, want] of [
    ['ssh', 'ssh-config'],
    ['ssh-config --us', '--user'],
    ['vm restore', 'restore-files'],
    ['vm wait --for=ru', '--for=running'],
    ['vm wait --all --for ', 'running stopped ping ssh'],
    ['vm start -o n', 'name'],
    ['-o json vm unp', 'unpause'],
    ['--no-headers host sh', 'show'],
  ] as const) {
    t.equal((await complete(...line.split(' '))).join(' '), want, line);
  }
  t.strictSame(asked, [], 'none of these needs a controller');
  for (const [line, want] of [
    ['vm start ', 'domU@dom0-1 web-1@dom0-1'],
    ['vm start -o json do', 'domU@dom0-1'],
    ['vm start domU@dom0-1 ', 'web-1@dom0-1'],
    ['vm show domU@dom0-1 d', ''],
    ['vm copy ', ':file'],
    ['vm copy ./x /root/ w', 'web-1@dom0-1'],
    ['vm create web --like w', 'web-1@dom0-1'],
    ['vm create web --on dom0-1,', 'dom0-1,dom0-2'],
    ['vm create web --on=', '--on=dom0-1 --on=dom0-2'],
    ['event list --host dom0-[1,2],', 'dom0-[1,2],dom0-1 dom0-[1,2],dom0-2'],
    ['host show ', 'dom0-1 dom0-2'],
    ['reservation show ', 'reservation'],
    ['lease release ', 'lease'],
    ['reservation import ', ':file'],
    ['certificate issue me --out ', ':dir'],
    ['vm run web-1 -- ./', ':file'],
    ['nope nope ', [...NOUNS, ...PLAIN_VERBS].map(({ name }) => name).join(' ')],
  ] as const) {
    t.equal((await complete(...line.split(' '))).join(' '), want, line);
  }
});

t.test('a duration out of bounds is told before anything is asked', async (t) => {
  for (const [args, bounds] of [
    [['vm', 'shutdown', '--all', '--timeout', '0s'], '1s to 1h'],
    [['vm', 'reboot', '--all', '--timeout', '2h'], '1s to 1h'],
    [['vm', 'wait', '--all', '--for=running', '--timeout', '2d'], '1s to 1d'],
    [['host', 'token', 'dom0-1', '--ttl', '1s'], '10s to 1d'],
  ] as const) {
    const { exitCode, err } = await runCli(args);
    t.equal(exitCode, 2, args.join(' '));
    t.ok(err.includes(`It must be a duration of ${bounds}\n`), err);
  }
  const bare = await runCli(['vm', 'wait', '--all', '--for=running', '--timeout', '60']);
  t.match(bare, { exitCode: 2, err: /"60" is not a duration\nhint: add the unit, as in 60s or 60m/ });
});

t.test('help starts without gRPC, generated code or tables', (t) => {
  const seen = new Set<string>();
  const packages = new Set<string>();
  const walk = (path: string): void => {
    if (seen.has(path)) return;
    seen.add(path);
    const source = ts.createSourceFile(path, readFileSync(path, 'utf8'), ts.ScriptTarget.ES2022);
    for (const statement of source.statements) {
      if (!ts.isImportDeclaration(statement) || statement.importClause?.isTypeOnly === true) continue;
      const specifier = (statement.moduleSpecifier as ts.StringLiteral).text;
      if (specifier.startsWith('.')) walk(join(dirname(path), specifier.replace(/\.js$/, '.ts')));
      else packages.add(specifier);
    }
  };
  walk(join(import.meta.dirname, '../../../../controller/cli/main.ts'));
  t.ok(seen.size > 10, 'the graph was walked');
  t.strictSame(
    [...packages].filter((name) => !name.startsWith('node:')),
    ['commander'],
  );
  t.notOk([...seen].some((path) => path.includes('/gen/')));
  t.end();
});

t.test('what a host tells of a VM', (t) => {
  const disk = { vdev: 'xvda2', target: '/a\u001b[2J.img', format: 'qcow2', readOnly: true, usedBytes: 1024n };
  const seen = {
    vm: Vm.create({ name: 'web', host: 'dom0-1' }),
    look: {
      cfg: [
        { key: 'name', values: ['web'], list: false },
        { key: 'vif', values: ['mac=a', 'mac=b'], list: true },
        { key: 'disk', values: [], list: true },
      ],
      disks: [
        { ...disk, sizeBytes: 2n ** 31n, origin: '/base.img', storage: 'qcow2', problem: '' },
        { ...disk, vdev: 'xvdb', sizeBytes: 0n, usedBytes: 0n, origin: '', storage: '', problem: 'it is not there' },
      ],
      consoleTail: Buffer.from('\u001b]0;x\u0007a\u001b[31mb\u001b[5n\nlogin: '),
      notKnown: [],
    },
    lastErrors: [Event.create({ at: new Date(0), kind: 'vm.held', message: 'held\u001b[2J' })],
  };
  const options = { timeZone: 'UTC', hasHeaders: true, isColoured: false };
  t.equal(
    inspectedBlocks(seen, options),
    [
      '',
      'DISK   FORMAT            SIZE     USED     TARGET           NOTE',
      'xvda2  qcow2, read only  2.0 GiB  1.0 KiB  /a\\u{1b}[2J.img  qcow2 of /base.img',
      'xvdb   qcow2, read only  -        -        /a\\u{1b}[2J.img  it is not there',
      '',
      'CFG KEY  VALUE',
      'name     web',
      'vif      mac=a',
      '         mac=b',
      'disk     []',
      '',
      'LAST ERRORS          KIND     MESSAGE',
      '1970-01-01 00:00:00  vm.held  held\\u{1b}[2J',
      '',
      'CONSOLE, its last lines',
      'ab',
      'login: ',
      '',
    ].join('\n'),
  );
  t.match(inspectedBlocks(seen, { ...options, isColoured: true }), /\na\u001b\[31mb\u001b\[0m\n/);
  t.equal(
    inspectedBlocks({ ...seen, look: NOTHING_SEEN, lastErrors: [] }, options),
    '',
    'nothing of what is not there',
  );
  t.match(INSPECTED_VIEW.json(seen), {
    name: 'web',
    cfg: { name: 'web', vif: ['mac=a', 'mac=b'], disk: [] },
    disks: [{ sizeBytes: 2 ** 31 }, { sizeBytes: null, usedBytes: null }],
    consoleTail: ['ab', 'login: '],
    lastErrors: [{ kind: 'vm.held', at: '1970-01-01T00:00:00.000Z' }],
  });
  t.match(INSPECTED_VIEW.json({ ...seen, look: NOTHING_SEEN }), { cfg: null, disks: [], consoleTail: [] });
  t.end();
});
