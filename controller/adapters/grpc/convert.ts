import { parseIpv4, type Ipv4 } from '../../../shared/domain/ipv4.js';
import { parseMac, type Mac } from '../../../shared/domain/mac.js';
import { AppError, invalid } from '../../../shared/errors.js';
import { parseRequestId } from '../../domain/request-id.js';

/**
 * The basics of the wire. Every function that reads takes the field's name as it stands in the .proto file, and every
 * error names it: `details.field`.
 */

/** The last millisecond of the year 9999: what a Timestamp may hold. */
const MAX_MS = 253_402_300_799_999;

/** Runs a parser of the domain; what it refuses is told with the field. */
export function inField<T>(field: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    if (!(error instanceof AppError) || error.code !== 'invalid') throw error;
    throw new AppError('invalid', `${field}: ${error.message}`, { ...error.details, field }, error);
  }
}

/** @throws {AppError} `invalid` if it is malformed; empty is `undefined` */
export function requestIdFrom(text: string): string | undefined {
  return parseRequestId(text);
}

export function timestampFromMs(atMs: number): Date;
export function timestampFromMs(atMs: number | undefined): Date | undefined;
export function timestampFromMs(atMs: number | undefined): Date | undefined {
  return atMs === undefined ? undefined : new Date(atMs);
}

/** Milliseconds since 1970. @throws {AppError} `invalid` if unset or before 1970 or after 9999 */
export function msFrom(at: Date | undefined, field: string): number {
  if (at === undefined) throw missing(field);
  const atMs = Math.floor(at.getTime());
  if (atMs >= 0 && atMs <= MAX_MS) return atMs;
  throw invalid(`${field} is no time between 1970 and 9999`, { field });
}

export function optionalMsFrom(at: Date | undefined, field: string): number | undefined {
  return at === undefined ? undefined : msFrom(at, field);
}

/** @throws {AppError} `invalid` unless it is an integer of `min` to `max`, both included */
export function integerFrom(value: number, field: string, min: number, max: number): number {
  if (Number.isInteger(value) && value >= min && value <= max) return value;
  throw invalid(`${field} is ${String(value)}: ${String(min)} to ${String(max)} is expected`, {
    field,
    value: String(value),
  });
}

/** An id or counter of 64 bits. 0 is `undefined`. @throws {AppError} `invalid` above 2**53 - 1 */
export function optionalIdFrom(value: bigint, field: string): number | undefined {
  if (value === 0n) return undefined;
  const number = Number(value);
  if (value > 0n && Number.isSafeInteger(number)) return number;
  throw invalid(`${field} is out of range`, { field, value: value.toString() });
}

export function addressFrom(text: string, field: string): Ipv4 {
  if (text === '') throw missing(field);
  return inField(field, () => parseIpv4(text));
}

/** Unset and empty are `undefined`. */
export function optionalAddressFrom(text: string | undefined, field: string): Ipv4 | undefined {
  return text === undefined || text === '' ? undefined : addressFrom(text, field);
}

/** @throws {AppError} `invalid` for a malformed one (`field[n]`), for none, and for more than `max` */
export function addressesFrom(texts: readonly string[], field: string, max: number): Ipv4[] {
  checkCount(texts.length, field, max);
  return texts.map((text, n) => addressFrom(text, `${field}[${String(n)}]`));
}

export function macFrom(text: string, field: string): Mac {
  if (text === '') throw missing(field);
  return inField(field, () => parseMac(text));
}

/** Unset and empty are `undefined`. */
export function optionalMacFrom(text: string | undefined, field: string): Mac | undefined {
  return text === undefined || text === '' ? undefined : macFrom(text, field);
}

/** Empty is `undefined`. @throws {AppError} `invalid` for control characters, or more than `max` characters */
export function optionalTextFrom(text: string, field: string, max: number): string | undefined {
  if (text.length > max) throw invalid(`${field} is longer than ${String(max)} characters`, { field });
  if (/\p{C}/u.test(text)) throw invalid(`${field} has a control character`, { field });
  return text === '' ? undefined : text;
}

/** @throws {AppError} `invalid` unless `count` is 1 to `max` */
export function checkCount(count: number, field: string, max: number): void {
  if (count < 1) throw invalid(`${field} is empty: at least one is expected`, { field });
  if (count > max) throw invalid(`${field} has ${String(count)} entries, more than ${String(max)}`, { field });
}

export function missing(field: string): AppError {
  return invalid(`${field} is missing`, { field });
}
