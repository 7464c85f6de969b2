import { groupBy } from '../../../shared/domain/group-by.js';
import { invalid } from '../../../shared/errors.js';
import type { ExecResult } from '../../../shared/exec.js';
import { EXIT_CODE } from '../../../shared/exit-code.js';
import { fanOut } from '../fan-out.js';
import type { Invocation } from '../invocation.js';
import { tell } from '../output.js';
import { selectorOf } from '../selection.js';
import { isLive } from '../terminal-text.js';
import { foldNames } from './guest-name.js';
import { refuseSsh, selectVms, withGuestSsh, type GuestSsh, type LoginOptions, type NamedVm } from './guest-ssh.js';

export interface FanOptions extends LoginOptions {
  readonly all?: boolean;
  readonly max?: number;
  /** Milliseconds. */
  readonly timeout?: number;
}

/** What came of one VM. */
export interface Outcome {
  readonly named: NamedVm;
  /** `undefined`: the command did not end by itself. */
  readonly exitCode: number | undefined;
  /** Why there is no exit code. */
  readonly error: string | undefined;
  readonly stdout: string;
  readonly stderr: string;
  readonly durationMs: number;
}

const MAX = 32;
const TIMEOUT_MS = 600_000;

/** One command of this machine for each VM, side by side. */
export async function eachVm(
  call: Invocation,
  names: readonly string[],
  options: FanOptions,
  commandFor: (ssh: GuestSsh, name: string) => readonly [string, ...string[]],
): Promise<readonly Outcome[]> {
  const timeoutMs = options.timeout ?? TIMEOUT_MS;
  const selected = await selectVms(call, selectorOf(names, options.all));
  const skipped = selected.filter(({ vm }) => refuseSsh(vm) !== undefined);
  const vms = selected.filter((named) => !skipped.includes(named));
  // Of all there are, those that are off are no failure; one that was named is.
  if (options.all) tellSkipped(call, skipped);
  const refused = options.all ? [] : skipped.map(refusedOutcome);
  if (vms.length + refused.length === 0) throw invalid('no VM runs that has an address', { hint: 'domherd vm list' });
  return withGuestSsh(call, vms, options, async (ssh) => {
    const progress = new Count(call, vms.length);
    const outcomes = await fanOut(vms, options.max ?? MAX, async (named) => {
      const outcome = await runOne(call, named, commandFor(ssh, ssh.nameOf(named.vm.id)), timeoutMs);
      progress.add();
      return outcome;
    });
    progress.clear();
    return [...outcomes, ...refused];
  });
}

function tellSkipped(call: Invocation, skipped: readonly NamedVm[]): void {
  for (const [reason, group] of groupBy(skipped, ({ vm }) => refuseSsh(vm) ?? '')) {
    tell(call, `${foldVms(group)}: left out: ${reason}`);
  }
}

async function runOne(
  call: Invocation,
  named: NamedVm,
  argv: readonly [string, ...string[]],
  timeoutMs: number,
): Promise<Outcome> {
  const { exec, signal, nowMs } = call.world;
  const startMs = nowMs();
  const result = await exec.run(argv, { timeoutMs, signal });
  const exitCode = exitCodeOfResult(result);
  const { stderr } = result;
  const stdout = result.stdout.toString();
  const error = exitCode === undefined ? reasonOf(result, timeoutMs) : undefined;
  return { named, exitCode, error, stdout, stderr, durationMs: nowMs() - startMs };
}

function exitCodeOfResult(result: ExecResult): number | undefined {
  if (result.kind === 'ok') return 0;
  return result.kind === 'failed' ? result.exitCode : undefined;
}

function reasonOf(result: ExecResult, timeoutMs: number): string {
  switch (result.kind) {
    case 'timeout':
      return `not done in ${String(timeoutMs / 1000)} s`;
    case 'missing':
      return `${result.argv[0] ?? ''} cannot be run here: ${result.stderr}`;
    default:
      return 'interrupted';
  }
}

function refusedOutcome(named: NamedVm): Outcome {
  return { named, exitCode: undefined, error: refuseSsh(named.vm), stdout: '', stderr: '', durationMs: 0 };
}

export function foldVms(vms: readonly NamedVm[]): string {
  return foldNames(vms.map(({ name }) => name));
}

/** 0 if all did well, `partial` if some did; else the greatest exit code of the command, 255 where it did not run. */
export function exitCodeOf(outcomes: readonly Outcome[]): number {
  const failed = outcomes.filter(({ exitCode }) => exitCode !== 0);
  if (failed.length === 0) return 0;
  if (failed.length < outcomes.length) return EXIT_CODE.partial;
  return Math.max(...failed.map(({ exitCode }) => exitCode ?? 255));
}

/** How many are done, on a terminal. */
class Count {
  private readonly call: Invocation;
  private readonly total: number;
  private done = 0;

  constructor(call: Invocation, total: number) {
    this.call = call;
    this.total = total;
    this.show();
  }

  add(): void {
    this.done += 1;
    this.show();
  }

  clear(): void {
    if (this.isLive) this.call.world.stderr.write('\r\u001b[K');
  }

  private get isLive(): boolean {
    return isLive(this.call.world.stderr, this.call.world.env);
  }

  private show(): void {
    if (this.isLive) this.call.world.stderr.write(`\r\u001b[K${String(this.done)} of ${String(this.total)} done`);
  }
}
