import { printableJson } from '../../shared/domain/printable.js';
import type { PlannedStep, VmPlan, VmResult, VmStep } from '../../shared/gen/domherd/v1/vm.js';
import { resultHint } from './failure.js';
import type { Invocation } from './invocation.js';
import { LiveRegion } from './live-region.js';
import { tell } from './output.js';
import { ProgressBoard } from './progress-board.js';
import { isLive } from './terminal-text.js';

/** What goes on, on stderr: it ends where the results begin. */
export interface ProgressScreen {
  plan(plan: VmPlan): void;
  step(step: VmStep): void;
  result(result: VmResult): void;
  /** Safe to repeat. */
  end(): void;
  /** Whether it has told the warnings and hints of results, so that they are not to be told again. */
  readonly hasToldAll: boolean;
}

/** NAME@HOST. */
export function joinName(vm: string, host: string): string {
  return vm.includes('@') ? vm : `${vm}@${host}`;
}

/** A terminal has a region that is written over, or lines where it is too dumb for that; a program gets objects. */
export function progressScreen(call: Invocation): ProgressScreen {
  const { stderr, env } = call.world;
  if (isLive(stderr, env)) return new LiveScreen(call);
  return stderr.isTTY === true ? new LineScreen(call) : new JsonScreen(call);
}

function subjectsOf(steps: readonly PlannedStep[]): readonly string[] {
  return steps.map(({ vm, host }) => joinName(vm, host));
}

/** What is quicker than this shows nothing at all. */
const FRAME_MS = 100;

class LiveScreen implements ProgressScreen {
  readonly hasToldAll = false;
  private readonly call: Invocation;
  private readonly region: LiveRegion;
  private readonly board: ProgressBoard;
  private readonly ended = new AbortController();

  constructor(call: Invocation) {
    this.call = call;
    this.region = new LiveRegion(call.world.stderr);
    this.board = new ProgressBoard(call.world.nowMs());
    void this.refresh();
  }

  plan({ steps }: VmPlan): void {
    this.board.planned(subjectsOf(steps));
  }

  step({ vm, host, message, percent }: VmStep): void {
    this.board.step(joinName(vm, host), message, percent);
  }

  result({ vm, host, errorCode }: VmResult): void {
    this.board.result(joinName(vm, host), errorCode === '');
  }

  end(): void {
    this.ended.abort();
    this.region.clear();
  }

  /** Frames come by the clock, not by the news: a thousand steps a second are ten frames. */
  private async refresh(): Promise<void> {
    const { pause, nowMs } = this.call.world;
    const { signal } = this.ended;
    let before = '';
    for (;;) {
      await pause(FRAME_MS, signal);
      if (signal.aborted) return;
      const lines = this.board.lines(this.region.rows, nowMs());
      if (lines.join('\n') === before) continue;
      before = lines.join('\n');
      this.region.draw(lines);
    }
  }
}

class LineScreen implements ProgressScreen {
  readonly hasToldAll = false;
  private readonly call: Invocation;
  private readonly board: ProgressBoard;

  constructor(call: Invocation) {
    this.call = call;
    this.board = new ProgressBoard(call.world.nowMs());
  }

  plan(): void {
    // A plan that is carried out at once is told by its steps.
  }

  step({ vm, host, message, percent }: VmStep): void {
    const name = joinName(vm, host);
    if (this.board.step(name, message, percent)) tell(this.call, `${name}: ${message}`);
  }

  result({ vm, host, errorCode, message }: VmResult): void {
    const name = joinName(vm, host);
    this.board.result(name, errorCode === '');
    tell(this.call, `${name}: ${errorCode === '' ? 'done' : `${errorCode}: ${message}`}`);
  }

  end(): void {
    // Lines stay.
  }
}

/** docs/cli.md is its reference. */
class JsonScreen implements ProgressScreen {
  readonly hasToldAll = true;
  private readonly call: Invocation;
  private readonly board: ProgressBoard;

  constructor(call: Invocation) {
    this.call = call;
    this.board = new ProgressBoard(call.world.nowMs());
  }

  plan({ steps, warnings }: VmPlan): void {
    this.board.planned(subjectsOf(steps));
    const told = steps.map(({ vm, host, action, detail }) => ({ vm: joinName(vm, host), action, detail }));
    this.write({ type: 'plan', steps: told, warnings });
  }

  step({ vm, host, message, percent }: VmStep): void {
    const name = joinName(vm, host);
    this.board.step(name, message, percent);
    this.write({ type: 'step', vm: name, message, percent: percent ?? null });
  }

  result(result: VmResult): void {
    const { vm, host, errorCode, message, details, warnings } = result;
    const name = joinName(vm, host);
    this.board.result(name, errorCode === '');
    const said = { vm: name, errorCode: errorCode || null, message, hint: resultHint(result) ?? null };
    this.write({ type: 'result', ...said, details, warnings, ...this.board.counts() });
  }

  end(): void {
    // Lines stay.
  }

  private write(fact: { readonly type: string } & Readonly<Record<string, unknown>>): void {
    const { stderr, nowMs } = this.call.world;
    stderr.write(`${printableJson({ ...fact, elapsedMs: this.board.elapsedMs(nowMs()) })}\n`);
  }
}
