import { AppError } from '../../../shared/errors.js';
import type { Timers } from '../../ports/timer.js';

/** @param what the message that is waited for @throws {AppError} `timeout`; what `work` threw */
export function within<T>(timers: Timers, limitMs: number, work: Promise<T>, what: string): Promise<T> {
  return new Promise((resolve, reject) => {
    const late = new AppError('timeout', `${what} did not come within ${limitMs / 1000} s`);
    const forget = timers.after(limitMs, () => reject(late));
    work.then(resolve, reject).finally(forget);
  });
}
