import fc from 'fast-check';
import t from 'tap';
import stringWidth from 'string-width';
import type { Invocation } from '../../../../controller/cli/invocation.js';
import { cutToWidth, LiveRegion } from '../../../../controller/cli/live-region.js';
import { ProgressBoard } from '../../../../controller/cli/progress-board.js';
import { showProgress } from '../../../../controller/cli/vm-progress.js';
import type { World } from '../../../../controller/cli/world.js';
import { printable } from '../../../../shared/domain/printable.js';
import type { VmProgress, VmResult } from '../../../../shared/gen/domherd/v1/vm.js';

/** A terminal of the fewest controls that the region uses; what it does not know fails. */
class Terminal {
  readonly isTTY = true;
  readonly columns: number;
  readonly rows: number;
  lines: string[] = [''];
  /** Lines that have scrolled out of reach. */
  scrolled: string[] = [];
  private row = 0;
  private column = 0;

  constructor(columns: number, rows: number) {
    this.columns = columns;
    this.rows = rows;
  }

  write(text: string): void {
    for (const [token] of text.matchAll(/\u001b\[\d*[A-Z]|\r|\n|[^\u001b\r\n]+/g)) this.take(token);
  }

  get text(): string {
    return this.lines.join('\n').trimEnd();
  }

  private take(token: string): void {
    const [, count = '', control] = /^\u001b\[(\d*)([A-Z])$/.exec(token) ?? [];
    if (token === '\r') this.column = 0;
    else if (token === '\n') this.newLine();
    else if (control === 'A') this.row = Math.max(0, this.row - Number(count));
    else if (control === 'K') this.lines[this.row] = this.line.slice(0, this.column);
    else if (control === 'J') this.lines = [...this.lines.slice(0, this.row), this.line.slice(0, this.column)];
    else if (control !== undefined) throw new Error(`unknown control ${JSON.stringify(token)}`);
    else this.put(token);
  }

  private get line(): string {
    return this.lines[this.row] ?? '';
  }

  private put(text: string): void {
    if (stringWidth(text) >= this.columns) throw new Error(`a line of ${stringWidth(text)} columns would wrap`);
    this.lines[this.row] = text + this.line.slice(text.length);
    this.column = text.length;
  }

  private newLine(): void {
    this.column = 0;
    this.row += 1;
    this.lines[this.row] ??= '';
    while (this.row >= this.rows) {
      this.scrolled.push(this.lines.shift() ?? '');
      this.row -= 1;
    }
  }
}

t.test('a region is written over in place, and never scrolls', (t) => {
  const line = fc.string({ unit: fc.constantFrom('a', ' ', '机', 'é', '👩‍🚀', '\u001b'), maxLength: 40 });
  fc.assert(
    fc.property(
      fc.array(fc.array(line, { maxLength: 12 }), { minLength: 1, maxLength: 6 }),
      fc.integer({ min: 2, max: 8 }),
      (frames, rows) => {
        const terminal = new Terminal(20, rows);
        const region = new LiveRegion(terminal);
        for (const lines of frames) {
          region.draw(lines);
          const want = lines.slice(-(rows - 1)).map((each) => cutToWidth(printable(each), 19));
          if (terminal.text !== want.join('\n').trimEnd() || terminal.scrolled.length > 0) return false;
        }
        region.clear();
        return terminal.text === '' && terminal.scrolled.length === 0;
      },
    ),
  );
  t.equal(cutToWidth('机机机', 5), '机机', 'a wide character is whole or not there');
  t.equal(cutToWidth('cafe\u0301s', 4), 'cafe\u0301', 'an accent stays with its letter');
  t.end();
});

t.test('a line for each VM, for each host where those are too many, and counts', (t) => {
  const board = new ProgressBoard(1_000);
  t.strictSame(board.lines(9, 1_000), ['0 done, 0 failed, 0s'], 'without a plan nobody knows how many are left');
  board.planned(['web-1@a', 'web-2@a', 'web-3@b', 'web-4@c', 'web-4@c']);
  t.ok(board.step('web-1@a', 'copying', 10));
  t.notOk(board.step('web-1@a', 'copying', 42.9), 'a percentage alone is no news');
  board.step('web-2@a', 'copying', 20);
  board.step('web-3@b', 'addressing', undefined);
  t.strictSame(
    board.lines(4, 75_500).map((line) => line.replaceAll(/ +/g, ' ')),
    ['web-1@a 42 % copying', 'web-2@a 20 % copying', 'web-3@b addressing', '0 done, 0 failed, 4 left, 1m14s'],
  );
  t.strictSame(
    board.lines(3, 2_000).map((line) => line.replaceAll(/ +/g, ' ')),
    ['a 31 % 2 VMs under way', 'b addressing', '0 done, 0 failed, 4 left, 1s'],
  );
  t.match(board.lines(2, 2_000), ['and 2 more', /left/], 'no more than there are rows');
  t.match(board.lines(1, 2_000), [/left/]);
  board.result('web-1@a', true);
  board.result('web-2@a', false);
  t.strictSame(board.counts(), { done: 1, failed: 1, left: 2 });
  t.end();
});

/** With `TERM=dumb`: it gets no controls. */
class DumbTerminal {
  readonly isTTY = true;
  text = '';

  write(text: string): void {
    this.text += text;
  }
}

const NOTHING = { details: {}, state: undefined, warnings: [] };
const plan = (...vms: string[]): VmProgress => ({
  progress: {
    $case: 'plan',
    value: { steps: vms.map((vm) => ({ vm, host: 'a', action: 'copy', detail: '' })), warnings: ['one is off'] },
  },
});
const step = (vm: string, message: string, percent?: number): VmProgress => ({
  progress: { $case: 'step', value: { vm, host: 'a', message, percent } },
});
const result = (vm: string, more: Partial<VmResult> = {}): VmProgress => ({
  progress: { $case: 'result', value: { vm, host: 'a', errorCode: '', message: 'made', ...NOTHING, ...more } },
});
const CREATED = [
  plan('w1', 'w2'),
  step('w1', 'copying', 1),
  step('w1', 'copying', 50),
  result('w1'),
  result('w2', { errorCode: 'exhausted', message: 'full', details: { hint: 'release some' } }),
];

/** A frame after each thing that is told. */
async function show(
  format: Invocation['format'],
  told: readonly VmProgress[],
  terminal?: Terminal | DumbTerminal,
  isDryRun = false,
) {
  const [out, err]: [string[], string[]] = [[], []];
  const frames: string[] = [];
  let draw = (): void => undefined;
  const world = {
    stdout: { write: (text: string) => out.push(text) },
    stderr: terminal ?? { write: (text: string) => err.push(text) },
    env: terminal instanceof DumbTerminal ? { TERM: 'dumb' } : {},
    nowMs: () => 5_000,
    pause: () => new Promise<void>((resolve) => (draw = resolve)),
  };
  const writeData = (data: unknown): string => JSON.stringify(data);
  const call = { world: world as unknown as World, global: { headers: true }, format, writeData, trailing: [] };
  const exitCode = await showProgress(
    { ...call, line: [], requestId: 'r' },
    (async function* () {
      for (const each of told) {
        yield each;
        draw();
        await new Promise((resolve) => setImmediate(resolve));
        if (terminal) frames.push(terminal.text.replaceAll(/ +/g, ' '));
      }
    })(),
    isDryRun,
  );
  return { exitCode, out: out.join(''), err: err.join(''), frames };
}

t.test('on a terminal it is seen what goes on, and in the end there is nothing of it', async (t) => {
  const terminal = new Terminal(60, 10);
  const { frames, exitCode, out } = await show('table', CREATED, terminal);
  t.strictSame(frames.slice(0, 4), [
    'warning: one is off\n0 done, 0 failed, 2 left, 0s',
    'warning: one is off\nw1@a 1 % copying\n0 done, 0 failed, 2 left, 0s',
    'warning: one is off\nw1@a 50 % copying\n0 done, 0 failed, 2 left, 0s',
    'warning: one is off\n1 done, 0 failed, 1 left, 0s',
  ]);
  t.equal(terminal.text, 'warning: one is off\nhint: release some');
  t.match({ exitCode, out }, { exitCode: 10, out: /w1@a +done[^]*w2@a +exhausted/ });
});

t.test('on a dumb terminal each thing is a line, and a percentage is none', async (t) => {
  for (const format of ['table', 'json'] as const) {
    const terminal = new DumbTerminal();
    await show(format, CREATED, terminal);
    const lines = 'warning: one is off\nw1@a: copying\nw1@a: done\nw2@a: exhausted: full\nhint: release some\n';
    t.equal(terminal.text, lines, format);
  }
});

t.test('without a terminal each thing is an object on a line, and stderr has nothing else', async (t) => {
  const { err, out, exitCode } = await show('json', CREATED);
  t.equal((await show('table', CREATED)).err, err, 'whatever goes to stdout');
  const lines = err
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as unknown);
  t.strictSame(lines, [
    {
      type: 'plan',
      steps: ['w1@a', 'w2@a'].map((vm) => ({ vm, action: 'copy', detail: '' })),
      warnings: ['one is off'],
      elapsedMs: 0,
    },
    { type: 'step', vm: 'w1@a', message: 'copying', percent: 1, elapsedMs: 0 },
    { type: 'step', vm: 'w1@a', message: 'copying', percent: 50, elapsedMs: 0 },
    {
      ...{ type: 'result', vm: 'w1@a', errorCode: null, message: 'made', hint: null, details: {}, warnings: [] },
      ...{ done: 1, failed: 0, left: 1, elapsedMs: 0 },
    },
    {
      ...{ type: 'result', vm: 'w2@a', errorCode: 'exhausted', message: 'full', details: { hint: 'release some' } },
      ...{ hint: 'release some', warnings: [], done: 1, failed: 1, left: 0, elapsedMs: 0 },
    },
  ]);
  t.match(JSON.parse(out), [
    { vm: 'w1@a', errorCode: null },
    { vm: 'w2@a', errorCode: 'exhausted' },
  ]);
  t.equal(exitCode, 10);
});
