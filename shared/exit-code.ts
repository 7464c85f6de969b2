import type { ErrorCode } from './errors.js';

/** What the programs exit with, by error; docs/errors.md shows it. 0 is success. */
export const EXIT_CODE: Readonly<Record<ErrorCode | 'partial', number>> = {
  internal: 1,
  invalid: 2,
  not_found: 3,
  already_exists: 4,
  wrong_state: 5,
  raced: 6,
  exhausted: 7,
  unavailable: 8,
  timeout: 8,
  unauthenticated: 9,
  forbidden: 9,
  /** Some of several failed. */
  partial: 10,
};
