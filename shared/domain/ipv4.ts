import { invalid } from '../errors.js';

declare const brand: unique symbol;

/** An IPv4 address as an unsigned 32-bit integer, network order. Build with {@link parseIpv4} or {@link ipv4FromNumber}. */
export type Ipv4 = number & { readonly [brand]: 'Ipv4' };

export const MAX_IPV4 = 0xffff_ffff;

/**
 * Reads a dotted quad.
 *
 * @throws {AppError} `invalid` unless it is four decimal octets of 0 to 255 without leading zeros
 */
export function parseIpv4(text: string): Ipv4 {
  const parts = text.split('.');
  const fault = parts.length === 4 ? parts.map(octetFault).find((reason) => reason !== undefined) : 'not four octets';
  if (fault !== undefined) throw invalid(`"${text}" is not an IPv4 address: ${fault}`, { address: text });
  // Multiply: `<<` would turn 128.0.0.0 negative.
  return parts.reduce((sum, part) => sum * 256 + Number(part), 0) as Ipv4;
}

/** The dotted quad; the inverse of {@link parseIpv4}. */
export function formatIpv4(address: Ipv4): string {
  return [address >>> 24, (address >>> 16) & 255, (address >>> 8) & 255, address & 255].join('.');
}

/**
 * Takes an address from a database, the wire or arithmetic.
 *
 * @param value 0 to 4294967295, both included
 * @throws {AppError} `invalid` for any other number
 */
export function ipv4FromNumber(value: number): Ipv4 {
  if (!Number.isInteger(value) || value < 0 || value > MAX_IPV4) {
    throw invalid(`${value} is not an IPv4 address: an unsigned 32-bit integer is expected`, { address: `${value}` });
  }
  return value as Ipv4;
}

function octetFault(part: string): string | undefined {
  if (part === '') return 'an octet is empty';
  if (!/^\d{1,10}$/.test(part)) return `"${part}" is not a decimal number`;
  // inet_aton(3) reads 010 as 8, other tools as 10: nobody can tell what was meant.
  if (part.length > 1 && part.startsWith('0')) return `"${part}" has a leading zero, which some tools read as octal`;
  return Number(part) > 255 ? `${part} is over 255` : undefined;
}
