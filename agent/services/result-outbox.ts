// Invariants:
// - A result is kept until it was sent in a session that then lived on for longer than a dead network takes to show
//   (keepalive 10 s and its answer 10 s): only then has it arrived. A new session sends what is kept again; the order id
//   makes a repeated result harmless.
import type { OrderResult } from '../domain/order.js';

export const ARRIVED_AFTER_MS = 30_000;

export class ResultOutbox {
  readonly #sentAtMs = new Map<OrderResult, number | undefined>();

  add(result: OrderResult): void {
    this.#sentAtMs.set(result, undefined);
  }

  /** A new session begins: nothing is known of what the last one lost. @returns all that is kept, oldest first */
  reopen(): readonly OrderResult[] {
    for (const result of this.#sentAtMs.keys()) this.#sentAtMs.set(result, undefined);
    return [...this.#sentAtMs.keys()];
  }

  markSent(result: OrderResult, nowMs: number): void {
    if (this.#sentAtMs.has(result)) this.#sentAtMs.set(result, nowMs);
  }

  /** The session is alive: forgets what must have arrived. */
  settle(nowMs: number): void {
    for (const [result, sentAtMs] of this.#sentAtMs) {
      if (sentAtMs !== undefined && nowMs - sentAtMs >= ARRIVED_AFTER_MS) this.#sentAtMs.delete(result);
    }
  }
}
