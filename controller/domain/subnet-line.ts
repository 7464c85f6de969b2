import { netmaskToPrefix, parseCidr, type Cidr } from '../../shared/domain/cidr.js';
import { parseIpv4, type Ipv4 } from '../../shared/domain/ipv4.js';
import { parseMac, type Mac } from '../../shared/domain/mac.js';
import { parseHostName } from '../../shared/domain/name.js';
import { AppError, invalid } from '../../shared/errors.js';

/** What one line of `g5k-subnets` says. */
export interface SubnetLine {
  readonly number: number;
  readonly cidrs: Cidr[];
  address?: Ipv4;
  mac?: Mac;
  prefix?: number;
  broadcast?: Ipv4;
  gateway?: Ipv4;
  /** The `-G` or `network` column: of the site; nothing follows from it. */
  network?: Ipv4;
  dnsName?: string;
  readonly dns: Ipv4[];
}

type Token =
  | { readonly kind: 'cidr'; readonly cidr: Cidr }
  | { readonly kind: 'address'; readonly address: Ipv4 }
  | { readonly kind: 'netmask'; readonly prefix: number }
  | { readonly kind: 'mac'; readonly mac: Mac }
  | { readonly kind: 'name'; readonly name: string };

/**
 * Reads the words of a line by their shape, since versions and options of `g5k-subnets` differ in their columns: subnet or
 * address first; then what ends in ones is the broadcast address, what ends in zeros the site's network, any other the
 * gateway; what follows a name or the gateway is a DNS server.
 *
 * @param words at least one
 * @param number of the line, from 1, for errors
 * @throws {AppError} `invalid` with details `line` and `token`
 */
export function parseSubnetLine(words: readonly string[], number: number): SubnetLine {
  const line: SubnetLine = { number, cidrs: [], dns: [] };
  const tokens = words.map((word) => classify(word, number));
  const mask = tokens.find((token) => token.kind === 'netmask');
  const hostSize = mask?.kind === 'netmask' ? Math.min(256, 2 ** (32 - mask.prefix)) : 256;
  tokens.forEach((token, n) => {
    if (!place(line, token, hostSize)) throw malformed(words[n] ?? '', number, 'is not expected here');
  });
  return line;
}

function place(line: SubnetLine, token: Token, hostSize: number): boolean {
  switch (token.kind) {
    case 'cidr':
      line.cidrs.push(token.cidr);
      return true;
    case 'netmask':
      if (line.prefix !== undefined || !hasSubject(line)) return false;
      line.prefix = token.prefix;
      return true;
    case 'mac':
      if (line.mac !== undefined || line.address === undefined) return false;
      line.mac = token.mac;
      return true;
    case 'name':
      if (line.dnsName !== undefined) return false;
      line.dnsName = token.name;
      return true;
    case 'address':
      placeAddress(line, token.address, hostSize);
      return true;
  }
}

function placeAddress(line: SubnetLine, address: Ipv4, hostSize: number): void {
  if (line.dnsName !== undefined) line.dns.push(address);
  else if (!hasSubject(line)) line.address = address;
  else if (line.broadcast === undefined && address % hostSize === hostSize - 1) line.broadcast = address;
  else if (line.network === undefined && address % hostSize === 0) line.network = address;
  else if (line.gateway === undefined) line.gateway = address;
  else line.dns.push(address);
}

function hasSubject(line: SubnetLine): boolean {
  return line.cidrs.length > 0 || line.address !== undefined;
}

function classify(word: string, number: number): Token {
  try {
    if (word.includes('/')) return { kind: 'cidr', cidr: parseCidr(word) };
    if (/^[\d.]+$/.test(word)) return classifyAddress(parseIpv4(word));
    if (/^[\da-f]+([:-][\da-f]+){5}$/i.test(word)) return { kind: 'mac', mac: parseMac(word) };
    if (word.includes('.')) return { kind: 'name', name: parseHostName(word) };
  } catch (error) {
    if (error instanceof AppError) throw malformed(word, number, 'is malformed', error);
    throw error;
  }
  throw malformed(word, number, 'is neither a network, an address, a MAC nor a DNS name');
}

function classifyAddress(address: Ipv4): Token {
  // No host has such an address: 240.0.0.0/4 is reserved (RFC 1112).
  if (address < 0xff00_0000) return { kind: 'address', address };
  return { kind: 'netmask', prefix: netmaskToPrefix(address) };
}

function malformed(word: string, number: number, what: string, cause?: AppError): AppError {
  const token = printable(word.slice(0, 80));
  const reason = cause === undefined ? '' : `: ${printable(cause.message.slice(0, 200))}`;
  const hint = cause?.details['hint'] ?? 'give what g5k-subnets -a or -p printed, or one network a line';
  return invalid(`line ${number}: "${token}" ${what}${reason}`, { line: `${number}`, token, hint });
}

/** The text may be anything, a terminal's escape sequences too. */
function printable(text: string): string {
  return text.replaceAll(/\p{C}/gu, '?');
}
