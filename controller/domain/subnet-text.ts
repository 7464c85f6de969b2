import type { AddressRange } from '../../shared/domain/address-range.js';
import { cidrContains, cidrOf, firstAddress, lastAddress } from '../../shared/domain/cidr.js';
import { formatIpv4, type Ipv4 } from '../../shared/domain/ipv4.js';
import { formatMac, leasedMac, type Mac } from '../../shared/domain/mac.js';
import { invalid } from '../../shared/errors.js';
import { parseSubnetLine, type SubnetLine } from './subnet-line.js';
import {
  completeSettings,
  SITE_PREFIX,
  TESTBED,
  type SourceSettings,
  type SourceWarning,
  type SubnetSource,
} from './subnet-source.js';

/**
 * Reads what `g5k-subnets` prints, with any options and of any age, or a list of networks with `#` comments.
 *
 * @throws {AppError} `invalid` for a malformed line (details `line`, `token`), for lines that disagree, for a text without a
 *   subnet, and for bare network addresses, whose size nobody can tell
 */
export function parseSubnetText(text: string): SubnetSource {
  const lines = readLines(text);
  const cidrs = lines.flatMap((line) => line.cidrs);
  const addresses = lines.flatMap((line) => line.address ?? []);
  if (cidrs.length + addresses.length === 0) throw noSubnet();
  const macs = macColumn(lines);
  if (cidrs.length === 0 && macs === undefined) refuseBareNetworks(addresses);
  const ownMasks = lines.filter(hasOwnMask);
  const given = agreedSettings(lines.map((line) => (hasOwnMask(line) ? withoutOwnMask(line) : line)));
  const { settings, warnings } = completeSettings(given, rangesOf(lines));
  return {
    source: lines.every(isCidrOnly) ? 'cidr-list' : 'g5k-subnets',
    cidrs,
    addresses,
    ...(macs !== undefined && { macs }),
    told: given,
    settings,
    warnings: [...ownMaskWarning(ownMasks), ...warnings, ...macWarning(lines)],
  };
}

function readLines(text: string): SubnetLine[] {
  const lines: SubnetLine[] = [];
  text.split(/\r\n|\n|\r/).forEach((raw, n) => {
    const words = raw
      .replace(/#.*/s, '')
      .split(/\s+/)
      .filter((word) => word !== '');
    if (words.length > 0) lines.push(parseSubnetLine(words, n + 1));
  });
  return lines;
}

function rangesOf(lines: readonly SubnetLine[]): AddressRange[] {
  return lines.flatMap((line) => [
    ...line.cidrs.map((cidr) => ({ first: firstAddress(cidr), last: lastAddress(cidr) })),
    ...(line.address === undefined ? [] : [{ first: line.address, last: line.address }]),
  ]);
}

function isCidrOnly(line: SubnetLine): boolean {
  const columns = [line.address, line.prefix, line.broadcast, line.gateway, line.network, line.dnsName, ...line.dns];
  return columns.every((column) => column === undefined);
}

/** `g5k-subnets` without options prints network addresses, and one could take them for single addresses. */
function refuseBareNetworks(addresses: readonly Ipv4[]): void {
  if (!addresses.every((address) => address % 1024 === 0)) return;
  throw invalid('the source has network addresses without their size', {
    hint: 'use g5k-subnets -a or g5k-subnets -p, which print the prefix length too',
  });
}

function noSubnet(): Error {
  return invalid('the source has no subnet', {
    hint: 'either the job has no subnet reserved, or this is not inside the job: use g5k-subnets -a -j JOBID',
  });
}

/**
 * In 2011 `-a` printed the mask of the reserved subnet, with which a VM would not reach its gateway: the mask to configure
 * is the site's.
 */
function hasOwnMask(line: SubnetLine): boolean {
  const subject = line.cidrs[0]?.network ?? line.address;
  if (line.prefix === undefined || subject === undefined) return false;
  if (line.gateway !== undefined) return !cidrContains(cidrOf(subject, line.prefix), line.gateway);
  const isOwn = line.cidrs[0] === undefined || line.cidrs[0].prefix === line.prefix;
  return isOwn && line.prefix > SITE_PREFIX && cidrContains(TESTBED, subject);
}

function withoutOwnMask(line: SubnetLine): SubnetLine {
  const subject = line.cidrs[0]?.network ?? line.address;
  const { prefix, broadcast, ...rest } = line;
  const isOwn = subject !== undefined && prefix !== undefined && broadcast === lastAddress(cidrOf(subject, prefix));
  return broadcast === undefined || isOwn ? rest : { ...rest, broadcast };
}

function ownMaskWarning(lines: readonly SubnetLine[]): SourceWarning[] {
  const first = lines[0];
  if (first === undefined) return [];
  const text = `the netmask is the reserved subnet's own (/${first.prefix}), not the site's; it is ignored`;
  return [{ line: first.number, text: lines.length > 1 ? `${text} (${lines.length} lines)` : text }];
}

function macColumn(lines: readonly SubnetLine[]): Map<Ipv4, Mac> | undefined {
  const macs = new Map<Ipv4, Mac>();
  for (const { address, mac } of lines) {
    if (address !== undefined && mac !== undefined) macs.set(address, mac);
  }
  return macs.size === 0 ? undefined : macs;
}

function macWarning(lines: readonly SubnetLine[]): SourceWarning[] {
  const odd = lines.flatMap((line) =>
    line.address !== undefined && line.mac !== undefined && line.mac !== leasedMac(line.address)
      ? [{ number: line.number, address: line.address, mac: line.mac }]
      : [],
  );
  const [first] = odd;
  if (first === undefined) return [];
  const { address, mac, number } = first;
  const example = `${formatMac(mac)} for ${formatIpv4(address)}, where ${formatMac(leasedMac(address))} is expected`;
  return [
    { line: number, text: `the MAC column is not derived from the address: ${odd.length} differ, first ${example}` },
  ];
}

type Field = 'netmask' | 'broadcast address' | 'gateway' | 'domain';
type Agreed = Map<Field, { readonly text: string; readonly number: number }>;

function agreedSettings(lines: readonly SubnetLine[]): SourceSettings {
  const agreed: Agreed = new Map();
  const dns = new Set<Ipv4>();
  const last: { prefix?: number; broadcast?: Ipv4; gateway?: Ipv4; domain?: string } = {};
  for (const line of lines) {
    const { prefix, broadcast, gateway } = line;
    const domain = domainOf(line.dnsName);
    if (prefix !== undefined) agree(agreed, 'netmask', `/${(last.prefix = prefix)}`, line);
    if (broadcast !== undefined) agree(agreed, 'broadcast address', formatIpv4((last.broadcast = broadcast)), line);
    if (gateway !== undefined) agree(agreed, 'gateway', formatIpv4((last.gateway = gateway)), line);
    if (domain !== undefined) agree(agreed, 'domain', (last.domain = domain), line);
    line.dns.forEach((address) => dns.add(address));
  }
  return { ...last, dns: [...dns] };
}

function agree(agreed: Agreed, field: Field, text: string, line: SubnetLine): void {
  const before = agreed.get(field);
  if (before === undefined) agreed.set(field, { text, number: line.number });
  if (before === undefined || before.text === text) return;
  throw invalid(`lines ${before.number} and ${line.number} disagree on the ${field}: ${before.text} and ${text}`, {
    line: `${line.number}`,
    otherLine: `${before.number}`,
    token: text,
    hint: 'import one site and one job at a time',
  });
}

/** dns.grenoble.grid5000.fr -> grenoble.grid5000.fr */
function domainOf(dnsName: string | undefined): string | undefined {
  const domain = dnsName?.replace(/^[^.]*\.?/, '');
  return domain === '' ? undefined : domain;
}
