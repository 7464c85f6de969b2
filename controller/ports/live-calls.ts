import type { AppError } from '../../shared/errors.js';

/** The calls that are being answered. */
export interface LiveCalls {
  /** Ends every open call of these certificates, streams too, with this error. */
  cut(serials: readonly string[], reason: AppError): void;
}
