import { invalid } from '../errors.js';
import type { Ipv4 } from './ipv4.js';

declare const brand: unique symbol;

/** A MAC address as an unsigned 48-bit integer, first octet highest. Build with {@link parseMac} or {@link macFromNumber}. */
export type Mac = number & { readonly [brand]: 'Mac' };

/** The Xen project's OUI, 00:16:3e, as a 24-bit integer (xl-network-configuration(5)). */
export const XEN_OUI = 0x00163e;

const OUI_FACTOR = 2 ** 24;

/**
 * Reads six pairs of hex digits, joined by `:` or by `-`, in either case.
 *
 * @throws {AppError} `invalid` otherwise
 */
export function parseMac(text: string): Mac {
  if (!/^[\da-f]{2}([:-])[\da-f]{2}(\1[\da-f]{2}){4}$/i.test(text)) {
    throw invalid(`"${text}" is not a MAC address`, { mac: text, hint: 'write it as 00:16:3e:84:08:01' });
  }
  return Number.parseInt(text.replaceAll(/[:-]/g, ''), 16) as Mac;
}

/** Lower case, with colons. */
export function formatMac(mac: Mac): string {
  const digits = mac.toString(16).padStart(12, '0');
  return (digits.match(/../g) ?? []).join(':');
}

/**
 * Takes a MAC from a database or the wire.
 *
 * @param value 0 to 2**48 - 1, both included
 * @throws {AppError} `invalid` for any other number
 */
export function macFromNumber(value: number): Mac {
  if (!Number.isInteger(value) || value < 0 || value >= 2 ** 48) {
    throw invalid(`${value} is not a MAC address: an unsigned 48-bit integer is expected`, { mac: `${value}` });
  }
  return value as Mac;
}

/** Also true of the broadcast address. No interface may have such a MAC of its own. */
export function isMulticastMac(mac: Mac): boolean {
  return Math.floor(mac / 2 ** 40) % 2 === 1;
}

export function isZeroMac(mac: Mac): boolean {
  return mac === 0;
}

/**
 * The MAC that belongs to an address: Xen's OUI and its last three octets, as `g5k-subnets -im` prints and the testbed's
 * DHCP expects. Two addresses of one /8 never share one.
 */
export function leasedMac(address: Ipv4): Mac {
  return xenMacFromBits(address % OUI_FACTOR);
}

/**
 * @param bits24 an integer of 0 to 2**24 - 1, both included
 * @throws {AppError} `invalid` if it is not
 */
export function xenMacFromBits(bits24: number): Mac {
  if (!Number.isInteger(bits24) || bits24 < 0 || bits24 >= OUI_FACTOR) {
    throw invalid(`${bits24} is not a 24-bit number`, { bits: `${bits24}` });
  }
  return macFromNumber(XEN_OUI * OUI_FACTOR + bits24);
}
