import { invalid } from '../errors.js';
import type { Cidr } from './cidr.js';
import { formatIpv4, ipv4FromNumber, type Ipv4 } from './ipv4.js';

/** Addresses from `first` to `last`, both included; `first` is not above `last`. */
export interface AddressRange {
  readonly first: Ipv4;
  readonly last: Ipv4;
}

/**
 * The same addresses as few ranges: sorted, overlapping and adjacent ones merged.
 *
 * @throws {AppError} `invalid` if a range ends before it starts
 */
export function normalizeRanges(ranges: readonly AddressRange[]): AddressRange[] {
  ranges.forEach(refuseBackwards);
  const sorted = [...ranges].sort((a, b) => a.first - b.first);
  const merged: AddressRange[] = [];
  for (const range of sorted) {
    const before = merged.at(-1);
    if (before === undefined || range.first > before.last + 1) merged.push(range);
    else if (range.last > before.last) merged[merged.length - 1] = { first: before.first, last: range.last };
  }
  return merged;
}

/** What is in `from` and not in `away`, normalised. */
export function subtractRanges(from: readonly AddressRange[], away: readonly AddressRange[]): AddressRange[] {
  const holes = normalizeRanges(away);
  const left: AddressRange[] = [];
  let hole = 0;
  for (const range of normalizeRanges(from)) {
    while (hole < holes.length && (holes[hole]?.last ?? 0) < range.first) hole++;
    let start: number = range.first;
    for (let n = hole; start <= range.last; n++) {
      const next = holes[n];
      const end = next === undefined ? range.last : Math.min(range.last, next.first - 1);
      if (start <= end) left.push({ first: ipv4FromNumber(start), last: ipv4FromNumber(end) });
      start = next === undefined ? range.last + 1 : next.last + 1;
    }
  }
  return left;
}

/** What is in both, normalised. */
export function intersectRanges(a: readonly AddressRange[], b: readonly AddressRange[]): AddressRange[] {
  return subtractRanges(a, subtractRanges(a, b));
}

/** Distinct addresses, counted once however often they occur. */
export function countAddresses(ranges: readonly AddressRange[]): number {
  return normalizeRanges(ranges).reduce((sum, range) => sum + range.last - range.first + 1, 0);
}

/** `first-last`, or the address alone if it is one. */
export function formatRange(range: AddressRange): string {
  const first = formatIpv4(range.first);
  return range.first === range.last ? first : `${first}-${formatIpv4(range.last)}`;
}

/** The fewest networks that hold exactly these addresses, ascending. */
export function rangesToCidrs(ranges: readonly AddressRange[]): Cidr[] {
  return normalizeRanges(ranges).flatMap(rangeToCidrs);
}

function rangeToCidrs(range: AddressRange): Cidr[] {
  const cidrs: Cidr[] = [];
  let start: number = range.first;
  while (start <= range.last) {
    const cidr = { network: ipv4FromNumber(start), prefix: widestPrefix(start, range.last) };
    cidrs.push(cidr);
    start += 2 ** (32 - cidr.prefix);
  }
  return cidrs;
}

function widestPrefix(start: number, last: number): number {
  let prefix = 32;
  while (prefix > 0) {
    const size = 2 ** (32 - (prefix - 1));
    if (start % size !== 0 || start + size - 1 > last) break;
    prefix--;
  }
  return prefix;
}

function refuseBackwards(range: AddressRange): void {
  if (range.first <= range.last) return;
  throw invalid(`${formatRange(range)} is not an address range: it ends before it starts`, {
    range: formatRange(range),
  });
}
