import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Timers } from '../../controller/ports/timer.js';
import type { ManualClock } from './manual-clock.js';

interface Waiting {
  readonly atMs: number;
  readonly act: () => void;
}

/** Timers that go off when a test moves the clock. */
export class ManualTimers implements Timers {
  readonly #clock: ManualClock;
  readonly #waiting = new Set<Waiting>();

  constructor(clock: ManualClock) {
    this.#clock = clock;
  }

  after(delayMs: number, act: () => void): () => void {
    const waiting = { atMs: this.#clock.nowMs() + delayMs, act };
    this.#waiting.add(waiting);
    return () => void this.#waiting.delete(waiting);
  }

  get count(): number {
    return this.#waiting.size;
  }

  /** Moves the clock, from one timer to the next, and lets everything that they set off run. */
  async advance(durationMs: number): Promise<void> {
    const endMs = this.#clock.nowMs() + durationMs;
    for (;;) {
      const next = [...this.#waiting].filter(({ atMs }) => atMs <= endMs).sort((a, b) => a.atMs - b.atMs)[0];
      if (next === undefined) break;
      this.#clock.advance(Math.max(0, next.atMs - this.#clock.nowMs()));
      this.#waiting.delete(next);
      next.act();
      await settle();
    }
    this.#clock.advance(endMs - this.#clock.nowMs());
    await settle();
  }
}

/** Lets everything that is ready run: promises, and turns of the journal. */
export async function settle(turns = 10): Promise<void> {
  for (let n = 0; n < turns; n++) await nextTurn();
}
