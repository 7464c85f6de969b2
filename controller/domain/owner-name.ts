import { invalid } from '../../shared/errors.js';

const SHAPE = /^[A-Za-z0-9._:/-]{1,128}$/;

/**
 * The free name that owns an address or a MAC which no VM of domherd has.
 *
 * @throws {AppError} `invalid` unless it is 1 to 128 characters of [A-Za-z0-9._:/-]
 */
export function parseLeaseOwnerName(text: string): string {
  if (SHAPE.test(text)) return text;
  throw invalid('owner name is malformed: 1 to 128 characters of [A-Za-z0-9._:/-] are expected', {
    length: String(text.length),
    hint: 'name it after what uses the address, as in gateway-test',
  });
}
