// Invariants:
// - Orders of one VM run in turn, in the order they came; those of different VMs side by side, and those that only look.
// - A result is in the journal before anybody is told of it, but for those of orders that only look.
// - An order that a stop cut short has no result: whoever sends it again has it run again, which every action bears.
import type { Logger } from 'pino';
import type { LiveAdmission, LiveOffer } from '../../shared/domain/live-migration.js';
import type { HostStore } from '../../shared/domain/host-store.js';
import { AppError, toAppError } from '../../shared/errors.js';
import { isLook, type Order, type OrderFailure, type OrderProgress, type OrderResult } from '../domain/order.js';
import type { ObservedVm } from '../domain/vm.js';
import type { VmLook } from '../domain/vm-look.js';
import type { Clock } from '../ports/clock.js';
import type { OrderJournal } from '../ports/order-journal.js';

export const MAX_RESULTS = 1000;

export type ReportProgress = (message: string, percent?: number) => void;

export interface Outcome {
  /** As it is then. */
  readonly vm: ObservedVm | undefined;
  readonly warnings: readonly string[];
  readonly stores?: readonly HostStore[] | undefined;
  /** Of an order to look. */
  readonly look?: VmLook | undefined;
  /** Of an order to offer. */
  readonly offer?: LiveOffer | undefined;
  /** Of an order to admit. */
  readonly admission?: LiveAdmission | undefined;
}

/** Does what an order asks. @throws {AppError} */
export type CarryOut = (order: Order, progress: ReportProgress, signal: AbortSignal) => Promise<Outcome>;

export interface OrderListener {
  progressed(progress: OrderProgress): void;
  finished(result: OrderResult): void;
  /** An order came again: this is what it came to, though its VM may be another one by now. */
  repeated(result: OrderResult): void;
}

export interface OrderRunnerParts {
  readonly clock: Clock;
  readonly journal: OrderJournal;
  readonly carryOut: CarryOut;
  /** The VM now, for the result of an order that failed. */
  readonly findVm: (key: string) => Promise<ObservedVm | undefined>;
  readonly listener: OrderListener;
  readonly log: Logger;
}

class StoppedError extends Error {}

export class OrderRunner {
  readonly #parts: OrderRunnerParts;
  readonly #results = new Map<string, OrderResult>();
  readonly #running = new Map<string, AbortController>();
  readonly #queues = new Map<string, Promise<void>>();
  #isStopped = false;

  constructor(parts: OrderRunnerParts) {
    this.#parts = parts;
  }

  /** Remembers what the journal has. Before the first order. */
  async start(): Promise<void> {
    for (const result of await this.#parts.journal.load()) this.#remember(result);
  }

  /** Takes an order; one that is known is answered, or will be, without running it again. Never throws. */
  submit(order: Order): void {
    if (this.#isStopped) return;
    const known = this.#results.get(order.orderId);
    if (known !== undefined) return this.#parts.listener.repeated(known);
    if (this.#running.has(order.orderId)) return;
    const abort = new AbortController();
    this.#running.set(order.orderId, abort);
    const queue = isLook(order.action) ? `look ${order.orderId}` : order.vmKey;
    const turn = (this.#queues.get(queue) ?? Promise.resolve()).then(() => this.#runOne(order, abort.signal));
    this.#queues.set(queue, turn);
    // The limit counts from receipt: an order that waited too long for its turn is late, too.
    const giveUp = new AppError('timeout', `The order was not done in ${order.timeoutMs / 1000} s`);
    const takeBack = this.#parts.clock.schedule(order.timeoutMs, () => abort.abort(giveUp));
    void turn.finally(() => {
      takeBack();
      this.#running.delete(order.orderId);
      if (this.#queues.get(queue) === turn) this.#queues.delete(queue);
    });
  }

  /** The order ends, its steps undone, as `unavailable`. One that is done or not known is left alone. */
  cancel(orderId: string): void {
    this.#running.get(orderId)?.abort(new AppError('unavailable', 'The order was cancelled'));
  }

  /** Takes no more, ends what runs at its next step, resolves when all of it is finished or undone. Idempotent. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    for (const abort of this.#running.values()) abort.abort(new StoppedError('the agent stops'));
    await Promise.all(this.#queues.values());
  }

  async #runOne(order: Order, signal: AbortSignal): Promise<void> {
    const { carryOut, listener, log, findVm } = this.#parts;
    const { orderId } = order;
    const startedMs = this.#parts.clock.nowMs();
    let code: OrderFailure['code'] | undefined;
    try {
      signal.throwIfAborted();
      const { vm, warnings, stores, look, offer, admission } = await carryOut(
        order,
        (message, percent) => listener.progressed({ orderId, message, percent }),
        signal,
      );
      const told = { ...(offer && { offer }), ...(admission && { admission }) };
      const seen = { ...(stores && { stores }), ...(look && { look }), ...told };
      await this.#finish(order, { orderId, failure: undefined, vm, warnings, ...seen });
    } catch (error) {
      if (error instanceof StoppedError || signal.reason instanceof StoppedError) return;
      const vm = await findVm(order.vmKey).catch(() => undefined);
      const failure = failureOf(error, signal);
      code = failure.code;
      await this.#finish(order, { orderId, failure, vm });
    } finally {
      const durationMs = this.#parts.clock.nowMs() - startedMs;
      log.info({ orderId, vmKey: order.vmKey, action: order.action.kind, durationMs, code }, 'order ended');
    }
  }

  async #finish({ action }: Order, result: OrderResult): Promise<void> {
    // What was seen is kept nowhere: it is large, and whoever asks again looks anew.
    if (action.kind !== 'look') this.#remember(result);
    if (isLook(action)) return this.#parts.listener.finished(result);
    await this.#parts.journal.append(result).catch((error: unknown) => {
      // It is done, and to be silent about it would be worse than to run it again after a restart.
      this.#parts.log.error({ err: error, orderId: result.orderId }, 'order journal not written');
    });
    this.#parts.listener.finished(result);
  }

  #remember(result: OrderResult): void {
    this.#results.set(result.orderId, result);
    const oldest = this.#results.size > MAX_RESULTS ? this.#results.keys().next().value : undefined;
    if (oldest !== undefined) this.#results.delete(oldest);
  }
}

/** What cut the order short counts, not what broke because of it. */
function failureOf(error: unknown, signal: AbortSignal): OrderFailure {
  const cause = toAppError(signal.aborted ? signal.reason : error);
  const details = error instanceof AppError ? error.details : {};
  return { code: cause.code, message: cause.message, details: { ...details, ...cause.details } };
}
