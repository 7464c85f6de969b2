/** What a restart of a VM began with. */
export interface Restarting {
  readonly orderId: string;
  /** Of the domain that is to end; `undefined`: there was none. */
  readonly domid: number | undefined;
}

/**
 * The last restart of each VM, so that one whose order comes again knows whether it has ended the domain that it was to end.
 * Kept until the next one: an order is over only when its result is in the journal.
 */
export interface RestartLog {
  /** @throws {AppError} `unavailable` */
  find(cfgPath: string): Promise<Restarting | undefined>;

  /** Replaces the one before; durable on return. @throws {AppError} `unavailable` */
  begin(cfgPath: string, restarting: Restarting): Promise<void>;
}
