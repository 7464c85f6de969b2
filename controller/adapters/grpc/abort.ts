import { AppError } from '../../../shared/errors.js';

/** What a signal of ours was aborted with. */
export function reasonOf(signal: AbortSignal): AppError {
  return signal.reason instanceof AppError ? signal.reason : new AppError('unavailable', 'The call was cancelled');
}

/**
 * `work`, or the signal's reason as soon as it is aborted. What `work` comes to after that is nobody's business.
 *
 * Not Promise.race with one promise for the signal: that one would keep every value of a stream for as long as it is open.
 */
export function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = (): void => reject(reasonOf(signal));
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
    const done = (): void => signal.removeEventListener('abort', stop);
    work.then(
      (value) => {
        done();
        resolve(value);
      },
      (error: unknown) => {
        done();
        reject(error instanceof Error ? error : new AppError('internal', String(error)));
      },
    );
  });
}
