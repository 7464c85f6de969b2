/** Every way in which a call can fail, from the caller's point of view. docs/errors.md tells what each asks of the user. */
export const ERROR_CODES = [
  'invalid',
  'not_found',
  'already_exists',
  'wrong_state',
  'raced',
  'exhausted',
  'unavailable',
  'timeout',
  'unauthenticated',
  'forbidden',
  'internal',
] as const;

export type ErrorCode = (typeof ERROR_CODES)[number];

/** Facts of an error for programs: flat, short, free of secrets. The key `hint` tells a person what to do next. */
export type ErrorDetails = Readonly<Record<string, string>>;

export class AppError extends Error {
  override readonly name = 'AppError';
  readonly code: ErrorCode;
  readonly details: ErrorDetails;

  /**
   * @param message for a person: subject first, no stack, no trailing dot; safe to show to the caller
   * @param details facts for programs; `hint` is what the person should do about it
   */
  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.details = details;
  }
}

export function invalid(message: string, details: ErrorDetails = {}): AppError {
  return new AppError('invalid', message, details);
}

export function notFound(message: string, details: ErrorDetails = {}): AppError {
  return new AppError('not_found', message, details);
}

export function wrongState(message: string, details: ErrorDetails = {}): AppError {
  return new AppError('wrong_state', message, details);
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** `error` itself if it is an AppError, else an `internal` one around it. */
export function toAppError(error: unknown): AppError {
  return error instanceof AppError ? error : new AppError('internal', messageOf(error), {}, error);
}
