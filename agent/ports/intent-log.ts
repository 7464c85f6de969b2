/** That a VM's cfg and guest are being changed together. */
export interface Intent {
  readonly cfgPath: string;
  /** The whole cfg before and after, one character a byte. */
  readonly before: string;
  readonly after: string;
}

/** The changes that are under way, at most one a cfg; they outlive the process, whatever ends it. */
export interface IntentLog {
  /** @throws {AppError} `unavailable`, `wrong_state` (damaged) */
  list(): Promise<readonly Intent[]>;

  /** @throws {AppError} as {@link list} */
  find(cfgPath: string): Promise<Intent | undefined>;

  /** Durable on return. @throws {AppError} `unavailable` */
  begin(intent: Intent): Promise<void>;

  /** Durable on return. One that is not there has ended. @throws {AppError} `unavailable` */
  end(cfgPath: string): Promise<void>;
}
