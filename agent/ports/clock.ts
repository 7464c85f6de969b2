export interface Clock {
  /** Wall clock. Milliseconds since 1970. */
  nowMs(): number;

  /**
   * Calls `run` once, not before `delayMs` milliseconds from now. It keeps the program alive until then.
   *
   * @param delayMs 0 to 2**31 - 1
   * @returns takes it back; idempotent, also afterwards
   */
  schedule(delayMs: number, run: () => void): () => void;
}
