import { invalid } from '../errors.js';
import { printable } from './printable.js';

declare const brand: unique symbol;

/** 64 hexadecimal digits, lower case. Build with {@link parseSha256}. */
export type Sha256 = string & { readonly [brand]: 'Sha256' };

/** @throws {AppError} `invalid` */
export function parseSha256(text: string): Sha256 {
  if (/^[0-9a-f]{64}$/i.test(text)) return text.toLowerCase() as Sha256;
  throw invalid(`"${printable(text).slice(0, 80)}" is no SHA-256`, { hint: '64 hexadecimal digits: sha256sum FILE' });
}
