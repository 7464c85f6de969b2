/** Waits. */
export interface Timers {
  /**
   * Runs `act` once. It does not keep the process alive.
   *
   * @param delayMs milliseconds from now; 0 to 2**31 - 1
   * @returns forgets it; harmless afterwards
   */
  after(delayMs: number, act: () => void): () => void;
}
