import type { ErrorCode, ErrorDetails } from '../../shared/errors.js';
import type { PlannedStep } from '../domain/address-plan.js';
import type { VmView } from './vm-query.js';

export interface VmStep {
  readonly kind: 'step';
  readonly vm: string;
  readonly host: string;
  readonly message: string;
  /** 0 to 100. */
  readonly percent: number | undefined;
}

export interface VmResult {
  readonly kind: 'result';
  readonly vm: string;
  readonly host: string;
  /** `undefined`: done. */
  readonly code: ErrorCode | undefined;
  readonly message: string;
  readonly details: ErrorDetails;
  readonly state: VmView | undefined;
  /** For people: what is dangerous in this VM and was left as it is. */
  readonly warnings?: readonly string[];
}

/** What an operation on VMs tells: its plan, steps, and one result a VM. */
export type VmProgress =
  | { readonly kind: 'plan'; readonly steps: readonly PlannedStep[]; readonly warnings: readonly string[] }
  | VmStep
  | VmResult;

export type Tell = (step: VmStep) => void;

/** Steps that wait for a slow reader before more are left out. Results never are. */
const MAX_WAITING_STEPS = 1_000;

class ProgressQueue {
  private waiting: VmProgress[] = [];
  private wake: (() => void) | undefined;
  private isEnded = false;
  private fault: { readonly error: unknown } | undefined;

  push(progress: VmProgress): void {
    if (progress.kind === 'step' && this.waiting.length >= MAX_WAITING_STEPS) return;
    this.waiting.push(progress);
    this.wake?.();
  }

  end(fault?: { readonly error: unknown }): void {
    this.isEnded = true;
    this.fault = fault;
    this.wake?.();
  }

  async *read(): AsyncGenerator<VmProgress, void, undefined> {
    for (;;) {
      yield* this.waiting.splice(0);
      if (this.waiting.length > 0) continue;
      if (this.isEnded) break;
      await new Promise<void>((resolve) => (this.wake = resolve));
    }
    if (this.fault) throw this.fault.error;
  }
}

/**
 * Works on every item, at most `limit` at a time, and tells everything in the order in which it happens. When the reader
 * leaves, `signal` of `work` is aborted; what was begun goes on to its end, the rest is not begun.
 *
 * @param work must not throw: a failure is a result
 */
export async function* runEach<T>(
  items: readonly T[],
  limit: number,
  signal: AbortSignal,
  work: (item: T, tell: Tell, signal: AbortSignal) => Promise<VmResult>,
): AsyncGenerator<VmProgress, void, undefined> {
  const queue = new ProgressQueue();
  const left = new AbortController();
  const stop = AbortSignal.any([signal, left.signal]);
  const rest = items.values();
  const runner = async (): Promise<void> => {
    for (const item of rest) {
      if (stop.aborted) return;
      queue.push(await work(item, (step) => queue.push(step), stop));
    }
  };
  const runners = Array.from({ length: Math.min(limit, items.length) }, runner);
  void Promise.all(runners).then(
    () => queue.end(),
    (error: unknown) => queue.end({ error }),
  );
  try {
    yield* queue.read();
  } finally {
    left.abort();
  }
}
