import { invalid } from '../../shared/errors.js';

const SHAPE = /^[A-Za-z0-9._-]{8,64}$/;

/**
 * The client's id of one intent; empty is `undefined`: not idempotent.
 *
 * @throws {AppError} `invalid` unless it is 8 to 64 characters of [A-Za-z0-9._-]
 */
export function parseRequestId(text: string): string | undefined {
  if (text === '') return undefined;
  if (isRequestId(text)) return text;
  throw invalid('request_id is malformed: 8 to 64 characters of [A-Za-z0-9._-] are expected', {
    field: 'request_id',
    hint: 'make a fresh UUID for each intent, and send it again only with the very same request',
  });
}

export function isRequestId(text: string): boolean {
  return SHAPE.test(text);
}
