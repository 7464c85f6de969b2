import type { AppError } from '../../../shared/errors.js';
import { EXIT_CODE } from '../../../shared/exit-code.js';

/** 0 when all went well, their own code when all failed alike, else `partial`. */
export function exitCodeOfAll(errors: readonly (AppError | undefined)[]): number {
  const codes = new Set(errors.map((error) => (error === undefined ? 0 : EXIT_CODE[error.code])));
  const [only = 0] = codes;
  return codes.size <= 1 ? only : EXIT_CODE.partial;
}
