export const BACKOFF_MIN_MS = 200;
export const BACKOFF_MAX_MS = 30_000;

/**
 * How long to wait before the next attempt: exponential with full jitter, so that a thousand agents that lost one
 * controller do not come back in step.
 *
 * @param failures attempts that failed in a row, 0 up
 * @param random 0 (included) to 1 (excluded)
 * @returns milliseconds, 200 to 30,000
 */
export function backoffMs(failures: number, random: number): number {
  const ceilingMs = Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** (failures + 1));
  return Math.round(BACKOFF_MIN_MS + random * (ceilingMs - BACKOFF_MIN_MS));
}
