import type { Logger } from 'pino';
import { AppError } from '../../shared/errors.js';
import type { Database, Stores, Tx } from '../ports/store.js';

/** One that waits for its turn; `run` returns what to do once the transaction is durable. */
interface Job {
  readonly run: (tx: Tx) => () => void;
  readonly fail: (error: unknown) => void;
}

/** A turn of this many requests stays well under the heartbeat's patience; the rest goes in the next one. */
const MAX_BATCH = 512;

/**
 * Group commit. Requests queue; one turn of the event loop runs the queue in one transaction with a savepoint for each.
 * While COMMIT waits for the disk, new requests pile up in the sockets: those are the next batch.
 *
 * Invariants:
 * - Nobody is answered, not even with a refusal, before the COMMIT: what a request saw may be a neighbour's undone work.
 * - A request that throws undoes itself only. A COMMIT that throws fails the whole batch.
 */
export class Journal {
  private readonly database: Database;
  private readonly log: Logger;
  private queue: Job[] = [];
  private isScheduled = false;
  private isStopped = false;

  constructor(database: Database, log: Logger) {
    this.database = database;
    this.log = log;
  }

  /**
   * Runs `work` in a transaction, soon. It must be synchronous.
   *
   * @returns its value, once it is durable
   * @throws {AppError} what `work` threw; `unavailable` after `stop` or if the database cannot be written
   */
  submit<T>(work: (tx: Tx) => T): Promise<T> {
    if (this.isStopped) return Promise.reject(stopped());
    return new Promise<T>((resolve, reject) => {
      this.queue.push({ run: (tx) => runJob(tx, work, resolve, reject), fail: reject });
      this.schedule();
    });
  }

  /** Reads what is committed. */
  read<T>(work: (stores: Stores) => T): T {
    return this.database.read(work);
  }

  /** Refuses new work and finishes what was queued. */
  stop(): Promise<void> {
    this.isStopped = true;
    while (this.queue.length > 0) this.flush();
    return Promise.resolve();
  }

  private schedule(): void {
    if (this.isScheduled) return;
    this.isScheduled = true;
    setImmediate(() => {
      this.isScheduled = false;
      this.flush();
      if (this.queue.length > 0) this.schedule();
    });
  }

  private flush(): void {
    const batch = this.queue.splice(0, MAX_BATCH);
    if (batch.length === 0) return;
    try {
      const settle = this.database.write((tx) => batch.map((job) => job.run(tx)));
      settle.forEach((answer) => answer());
    } catch (error) {
      this.log.warn({ err: error, requests: batch.length }, 'commit failed');
      batch.forEach((job) => job.fail(error));
    }
  }
}

function runJob<T>(
  tx: Tx,
  work: (tx: Tx) => T,
  resolve: (value: T) => void,
  reject: (error: unknown) => void,
): () => void {
  try {
    const value = tx.savepoint(() => work(tx));
    return () => resolve(value);
  } catch (error) {
    return () => reject(error);
  }
}

function stopped(): AppError {
  return new AppError('unavailable', 'the controller is stopping', { hint: 'try again when it runs' });
}
