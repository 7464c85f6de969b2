/** A console that somebody is attached to. */
export interface OpenConsole {
  /** For people: who else reads there, and takes what this one does not get; `undefined`: nobody that is known. */
  readonly note: string | undefined;

  /** What the guest says, once; ends when its domain does. Leaving the loop closes. @throws {AppError} `unavailable` */
  readonly output: AsyncIterable<Uint8Array>;

  /** Resolves when the guest's side has room for more; for ever, if it never has. @throws {AppError} `unavailable` (ended) */
  write(keys: Uint8Array): Promise<void>;

  /** Ends `output` and writes that wait. Idempotent. */
  close(): void;
}

export interface LogTail {
  /** 1 to 100,000. */
  readonly lines: number;
  /** Whether what is added later follows. */
  readonly isFollowed: boolean;
}

/** The consoles of domUs. Whoever reads one takes what he reads from everybody else: open it only for somebody. */
export interface Consoles {
  /**
   * @param name of the domain
   * @throws {AppError} `wrong_state` (no such domain, or it has no console yet), `unavailable`
   */
  open(name: string): Promise<OpenConsole>;

  /**
   * What the console said before, of domains that are gone too: the last lines, at most 1 MiB of them. It ends there, or when
   * `signal` is aborted.
   *
   * @throws {AppError} `wrong_state` (this host keeps no such logs; the hint says how it would), `not_found` (none of this VM),
   *   `unavailable`
   */
  openLog(name: string, tail: LogTail, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>>;
}
