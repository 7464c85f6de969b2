import type { OrderResult } from '../domain/order.js';

/** The results of past orders, so that an order which comes again after a restart is not run again. */
export interface OrderJournal {
  /** At most the last 1,000, oldest first. A damaged end (power cut) is dropped. */
  load(): Promise<readonly OrderResult[]>;

  /** Durable on return. @throws {AppError} `unavailable` (disk full, ...) */
  append(result: OrderResult): Promise<void>;
}
