import { AppError } from '../../../../../shared/errors.js';

/** The AppError that a call throws, `undefined` if it throws none; any other error goes through. */
export function refusal(run: () => unknown): AppError | undefined {
  try {
    run();
    return undefined;
  } catch (error) {
    if (error instanceof AppError) return error;
    throw error;
  }
}

/** Code, line and column of a refusal. */
export function where(error: AppError | undefined): string {
  return error === undefined ? 'accepted' : `${error.code} ${error.details['line']}:${error.details['column']}`;
}
