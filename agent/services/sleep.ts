import type { Clock } from '../ports/clock.js';

/** Resolves after `delayMs` milliseconds, or at once when the signal is aborted; which of both, the caller looks up. */
export function sleep(clock: Clock, delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const wake = (): void => {
      takeBack();
      signal.removeEventListener('abort', wake);
      resolve();
    };
    const takeBack = clock.schedule(delayMs, wake);
    signal.addEventListener('abort', wake, { once: true });
  });
}
