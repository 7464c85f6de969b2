import { invalid } from '../errors.js';
import { formatIpv4, ipv4FromNumber, MAX_IPV4, parseIpv4, type Ipv4 } from './ipv4.js';

/** An IPv4 network: `network` has no host bits, `prefix` is 0 to 32. Build with {@link parseCidr} or {@link cidrOf}. */
export interface Cidr {
  readonly network: Ipv4;
  readonly prefix: number;
}

/**
 * Reads `a.b.c.d/n`.
 *
 * @throws {AppError} `invalid` if malformed or if host bits are set; the hint then names the network that was probably meant
 */
export function parseCidr(text: string): Cidr {
  const [address, prefixText, ...rest] = text.split('/');
  if (address === undefined || prefixText === undefined || rest.length > 0) {
    throw invalid(`"${text}" is not a CIDR`, { cidr: text, hint: 'write it as 10.0.0.0/22' });
  }
  const prefix = parsePrefix(prefixText, text);
  const cidr = cidrOf(parseIpv4(address), prefix);
  if (formatIpv4(cidr.network) === address) return cidr;
  throw invalid(`"${text}" is not a network: it has host bits set`, {
    cidr: text,
    hint: `the network around that address is ${formatCidr(cidr)}`,
  });
}

export function formatCidr(cidr: Cidr): string {
  return `${formatIpv4(cidr.network)}/${cidr.prefix}`;
}

/**
 * The network of `prefix` bits that holds `address`.
 *
 * @throws {AppError} `invalid` if `prefix` is not an integer of 0 to 32
 */
export function cidrOf(address: Ipv4, prefix: number): Cidr {
  return { network: ipv4FromNumber(address - (address % prefixSize(prefix))), prefix };
}

/** Of all addresses, network address included. */
export function firstAddress(cidr: Cidr): Ipv4 {
  return cidr.network;
}

/** Of all addresses, broadcast address included. */
export function lastAddress(cidr: Cidr): Ipv4 {
  return ipv4FromNumber(cidr.network + cidrSize(cidr) - 1);
}

/** Addresses in it, network and broadcast included: 1 to 4294967296. */
export function cidrSize(cidr: Cidr): number {
  return prefixSize(cidr.prefix);
}

export function cidrContains(cidr: Cidr, address: Ipv4): boolean {
  return address >= cidr.network && address - cidr.network < cidrSize(cidr);
}

/** @throws {AppError} `invalid` if `prefix` is not an integer of 0 to 32 */
export function prefixToNetmask(prefix: number): Ipv4 {
  return ipv4FromNumber(MAX_IPV4 - (prefixSize(prefix) - 1));
}

/** @throws {AppError} `invalid` if the ones of the mask are not all on its left */
export function netmaskToPrefix(mask: Ipv4): number {
  const size = MAX_IPV4 - mask + 1;
  const hostBits = Math.log2(size);
  if (Number.isInteger(hostBits)) return 32 - hostBits;
  throw invalid(`${formatIpv4(mask)} is not a netmask: its ones are not contiguous`, { netmask: formatIpv4(mask) });
}

function prefixSize(prefix: number): number {
  if (!Number.isInteger(prefix) || prefix < 0 || prefix > 32) {
    throw invalid(`${prefix} is not a prefix length: 0 to 32 is expected`, { prefix: `${prefix}` });
  }
  return 2 ** (32 - prefix);
}

function parsePrefix(prefixText: string, text: string): number {
  if (/^(0|[1-9]\d?)$/.test(prefixText) && Number(prefixText) <= 32) return Number(prefixText);
  throw invalid(`"${text}" is not a CIDR: the prefix length is 0 to 32`, { cidr: text });
}
