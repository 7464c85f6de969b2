import { randomBytes } from 'node:crypto';
import type { StatusObject } from '@grpc/grpc-js';
import type { Logger } from 'pino';
import { AppError, toAppError } from '../../../shared/errors.js';
import { toStatus } from '../../../shared/grpc/status.js';

const REF_BYTES = 4;

/** What the client gets of an error. Of an `internal` one that is a reference; the rest stands in the log. */
export function failureStatus(error: unknown, log: Logger): Pick<StatusObject, 'code' | 'details' | 'metadata'> {
  const known = toAppError(error);
  if (known.code !== 'internal') {
    log.debug({ code: known.code, reason: known.message }, 'call refused');
    return toStatus(known);
  }
  const ref = randomBytes(REF_BYTES).toString('hex');
  log.error({ err: error, ref }, 'call failed');
  return toStatus(new AppError('internal', `internal error (ref ${ref})`, { ref }));
}
