// Invariants:
// - An event is forgotten once it was sent in a session that then lived on for longer than a dead network takes to show,
//   as results are (result-outbox.ts). One that is told twice is only a line too many.
import type { Logger } from 'pino';
import { messageOf } from '../../shared/errors.js';
import type { EventBacklog } from '../ports/boot-record.js';
import type { Clock } from '../ports/clock.js';
import type { SessionChannel } from '../ports/controller-link.js';
import { ARRIVED_AFTER_MS } from './result-outbox.js';

export interface BacklogNewsParts {
  readonly backlog: EventBacklog;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Tells the controller what happened while it could not be reached: what the boot step did. */
export class BacklogNews {
  readonly #parts: BacklogNewsParts;
  #sent: { readonly count: number; readonly atMs: number } | undefined;

  constructor(parts: BacklogNewsParts) {
    this.#parts = parts;
  }

  /** A new session has told its state. @throws {AppError} `unavailable` */
  async tell(channel: SessionChannel): Promise<void> {
    const { backlog, clock, log } = this.#parts;
    this.#sent = undefined;
    const events = await backlog.list();
    if (events.length === 0) return;
    for (const event of events) await channel.send({ kind: 'event', event });
    this.#sent = { count: events.length, atMs: clock.nowMs() };
    log.info({ events: events.length }, 'told what happened without the controller');
  }

  /** The session is alive: forgets what must have arrived. */
  async settle(): Promise<void> {
    const { backlog, clock, log } = this.#parts;
    if (this.#sent === undefined || clock.nowMs() - this.#sent.atMs < ARRIVED_AFTER_MS) return;
    const { count } = this.#sent;
    this.#sent = undefined;
    try {
      await backlog.dropFirst(count);
    } catch (error) {
      log.warn({ reason: messageOf(error) }, 'events not forgotten: they will be told again');
    }
  }
}
