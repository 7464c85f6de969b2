import type { Clock } from '../ports/clock.js';

/** Ends after `delayMs` milliseconds, or when the signal is aborted. @returns whether it slept all the time */
export function sleep(clock: Clock, delayMs: number, signal: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve(false);
    const wake = (): void => {
      takeBack();
      signal.removeEventListener('abort', wake);
      resolve(!signal.aborted);
    };
    const takeBack = clock.schedule(delayMs, wake);
    signal.addEventListener('abort', wake, { once: true });
  });
}
