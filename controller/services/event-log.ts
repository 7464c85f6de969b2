import { AppError, invalid } from '../../shared/errors.js';
import { matchesFilter, type Event, type EventFilter, type NewEvent } from '../domain/event.js';
import type { Tx } from '../ports/store.js';
import type { Journal } from './journal.js';

/** Events that wait for a reader before it is cut off. */
const MAX_WAITING = 1_000;
const PAGE = 500;

/** A reader of live events and what waits for it. */
class Subscriber {
  readonly filter: EventFilter;
  isLagging = false;
  private waiting: Event[] = [];
  private wake: (() => void) | undefined;

  constructor(filter: EventFilter) {
    this.filter = filter;
  }

  offer(event: Event): void {
    if (this.isLagging || !matchesFilter(event, this.filter)) return;
    if (this.waiting.length >= MAX_WAITING) this.isLagging = true;
    else this.waiting.push(event);
    this.poke();
  }

  take(): readonly Event[] {
    return this.waiting.splice(0);
  }

  get isWaitedFor(): boolean {
    return this.waiting.length > 0;
  }

  poke(): void {
    this.wake?.();
    this.wake = undefined;
  }

  /** Resolves when there is something to look at. */
  wait(): Promise<void> {
    return new Promise((resolve) => {
      this.wake = resolve;
    });
  }
}

/**
 * The history: kept in the transaction that made it, told to readers after the commit.
 *
 * Invariants:
 * - A reader sees each event that passes its filter once, in the order of ids.
 * - It reads the store until that has nothing more, and turns live in the same turn: no commit can come between.
 */
export class EventLog {
  private readonly journal: Journal;
  private readonly subscribers = new Set<Subscriber>();

  constructor(options: { readonly journal: Journal }) {
    this.journal = options.journal;
  }

  record(tx: Tx, event: NewEvent): Event {
    const stored = tx.events.append(event);
    tx.onCommitted(() => this.publish(stored));
    return stored;
  }

  /** @param after exclusive; `undefined`: the newest `limit` @param limit 1 to 1,000 */
  list(filter: EventFilter, after: number | undefined, limit: number): readonly Event[] {
    return this.journal.read((stores) => stores.events.list(filter, after, limit));
  }

  /**
   * @param afterId the last event that the reader has seen; `undefined`: from now on
   * @returns an endless stream that ends when `signal` is aborted; it throws `exhausted` when 1,000 events wait for a slow
   *   reader
   * @throws {AppError} `invalid` if there is no event `afterId` yet
   */
  subscribe(filter: EventFilter, afterId: number | undefined, signal: AbortSignal): AsyncIterable<Event> {
    if (afterId === undefined) return this.live(this.register(filter, signal), signal, this.lastId());
    const lastId = this.lastId();
    if (afterId > lastId) {
      throw invalid(`event ${String(afterId)} does not exist: the last one is ${String(lastId)}`, {
        lastEvent: String(lastId),
        hint: 'the history is another one than you have seen; watch from 0',
      });
    }
    return this.replay(filter, afterId, signal);
  }

  private async *replay(filter: EventFilter, afterId: number, signal: AbortSignal): AsyncGenerator<Event> {
    let seen = afterId;
    for (;;) {
      const page = this.list(filter, seen, PAGE);
      if (page.length === 0) break;
      for (const event of page) {
        if (signal.aborted) return;
        yield event;
        seen = event.id;
      }
    }
    yield* this.live(this.register(filter, signal), signal, seen);
  }

  private async *live(subscriber: Subscriber, signal: AbortSignal, startedAfter: number): AsyncGenerator<Event> {
    let seen = startedAfter;
    const isOver = (): boolean => signal.aborted;
    try {
      while (!isOver()) {
        for (const event of subscriber.take()) {
          yield event;
          seen = event.id;
        }
        if (isOver() || subscriber.isWaitedFor) continue;
        if (subscriber.isLagging) throw tooSlow(seen);
        await subscriber.wait();
      }
    } finally {
      this.subscribers.delete(subscriber);
    }
  }

  private register(filter: EventFilter, signal: AbortSignal): Subscriber {
    const subscriber = new Subscriber(filter);
    if (signal.aborted) return subscriber;
    this.subscribers.add(subscriber);
    const leave = (): void => {
      this.subscribers.delete(subscriber);
      subscriber.poke();
    };
    signal.addEventListener('abort', leave, { once: true });
    return subscriber;
  }

  private publish(event: Event): void {
    for (const subscriber of this.subscribers) subscriber.offer(event);
  }

  private lastId(): number {
    return this.journal.read((stores) => stores.events.lastId());
  }
}

function tooSlow(seen: number): AppError {
  return new AppError('exhausted', `the reader is too slow: ${String(MAX_WAITING)} events wait for it`, {
    lastEvent: String(seen),
    hint: `watch again after event ${String(seen)}`,
  });
}
