import { Metadata, status, type ServiceError, type StatusObject } from '@grpc/grpc-js';
import { AppError, ERROR_CODES, type ErrorCode, type ErrorDetails } from '../errors.js';

/**
 * One table, both directions. The code itself travels in trailing metadata too, so that a client of ours rebuilds the very
 * same AppError; any other client reads the gRPC status.
 */
export const GRPC_STATUS: Readonly<Record<ErrorCode, status>> = {
  invalid: status.INVALID_ARGUMENT,
  not_found: status.NOT_FOUND,
  already_exists: status.ALREADY_EXISTS,
  wrong_state: status.FAILED_PRECONDITION,
  raced: status.ABORTED,
  exhausted: status.RESOURCE_EXHAUSTED,
  unavailable: status.UNAVAILABLE,
  timeout: status.DEADLINE_EXCEEDED,
  unauthenticated: status.UNAUTHENTICATED,
  forbidden: status.PERMISSION_DENIED,
  internal: status.INTERNAL,
};

const CODE_KEY = 'domherd-code';
const DETAILS_KEY = 'domherd-details-bin';

/** What goes over the wire. The caller has replaced the text of `internal` errors already. */
export function toStatus(error: AppError): Pick<StatusObject, 'code' | 'details' | 'metadata'> {
  const metadata = new Metadata();
  metadata.set(CODE_KEY, error.code);
  metadata.set(DETAILS_KEY, Buffer.from(JSON.stringify(error.details)));
  return { code: GRPC_STATUS[error.code], details: error.message, metadata };
}

/** The AppError that a failed call stands for. Reads `details`: grpc-js prefixes `message` with the status. */
export function fromServiceError(error: ServiceError): AppError {
  const code = codeOf(error);
  return new AppError(code, error.details || error.message, detailsOf(error.metadata), error);
}

function codeOf(error: ServiceError): ErrorCode {
  const sent = error.metadata.get(CODE_KEY)[0];
  const known =
    ERROR_CODES.find((code) => code === sent) ?? ERROR_CODES.find((code) => GRPC_STATUS[code] === error.code);
  if (known) return known;
  return error.code === status.CANCELLED ? 'unavailable' : 'internal';
}

function detailsOf(metadata: Metadata): ErrorDetails {
  const sent = metadata.get(DETAILS_KEY)[0];
  if (!Buffer.isBuffer(sent)) return {};
  try {
    const parsed: unknown = JSON.parse(sent.toString());
    if (typeof parsed !== 'object' || parsed === null) return {};
    return Object.fromEntries(Object.entries(parsed).map(([key, value]) => [key, String(value)]));
  } catch {
    return {};
  }
}
