/**
 * The pool of a reservation: which addresses may be given out, and the position of each.
 *
 * Invariants:
 * - Canonical form is a list of usable ranges, normalized. What one job prints as 64 /22s, as one /16 or as a list of
 *   single addresses has the same canonical form, so a re-import changes nothing.
 * - Positions count the usable addresses that are not excluded, ascending from 0 without holes.
 */
import {
  countAddresses,
  normalizeRanges,
  rangesToCidrs,
  subtractRanges,
  formatRange,
  type AddressRange,
} from '../../shared/domain/address-range.js';
import { firstAddress, formatCidr, lastAddress, type Cidr } from '../../shared/domain/cidr.js';
import { formatIpv4, ipv4FromNumber, type Ipv4 } from '../../shared/domain/ipv4.js';
import { invalid } from '../../shared/errors.js';

/** Build with {@link buildPool}. */
export interface Pool {
  /** Addresses that can be leased: usable and not excluded. */
  readonly size: number;
  readonly usable: readonly AddressRange[];
  /** `usable` less the exclusions; `starts[n]` is the position of `free[n].first`. */
  readonly leasable: readonly AddressRange[];
  readonly starts: readonly number[];
}

export type NotInPool = 'outside' | 'edge' | 'excluded';

/** The testbed's unit of reservation: a /22. */
const BLOCK_SIZE = 1024;
/** A /8: positions and bitmaps stay small, and leased MACs are unique within it. */
const MAX_ADDRESSES = 2 ** 24;

/**
 * The usable addresses of networks: merged, cut into aligned /22s (smaller ones where less remains), each less its first
 * and last address. Blocks of one or two addresses (/32, /31) have no such edges and are used whole (RFC 3021).
 *
 * @throws {AppError} `invalid` if they hold more than 16777216 addresses, a /8
 */
export function usableRanges(cidrs: readonly Cidr[]): AddressRange[] {
  const merged = normalizeRanges(cidrs.map((cidr) => ({ first: firstAddress(cidr), last: lastAddress(cidr) })));
  refuseHuge(merged);
  return normalizeRanges(merged.flatMap(cutAtBlocks).flatMap(alignedBlocks).map(withoutEdges));
}

/**
 * The usable ones of single addresses, in any order, repeats allowed: all but the first and last of each aligned /22.
 *
 * @throws {AppError} `invalid` if they are more than 16777216, a /8
 */
export function usableFromAddresses(addresses: readonly Ipv4[]): AddressRange[] {
  const usable = addresses.filter((address) => !isBlockEdge(address));
  const ranges = normalizeRanges(usable.map((address) => ({ first: address, last: address })));
  refuseHuge(ranges);
  return ranges;
}

/** {@link usableRanges} and {@link usableFromAddresses} of a source that may have both. */
export function usableOf(source: {
  readonly cidrs: readonly Cidr[];
  readonly addresses: readonly Ipv4[];
}): AddressRange[] {
  return normalizeRanges([...usableRanges(source.cidrs), ...usableFromAddresses(source.addresses)]);
}

/**
 * @param ranges canonical: from {@link usableOf}
 * @param exclusions never given out; may lie outside of `ranges` and overlap
 */
export function buildPool(ranges: readonly AddressRange[], exclusions: readonly AddressRange[]): Pool {
  const leasable = subtractRanges(ranges, exclusions);
  const starts: number[] = [];
  let size = 0;
  for (const range of leasable) {
    starts.push(size);
    size += range.last - range.first + 1;
  }
  return { size, usable: normalizeRanges(ranges), leasable, starts };
}

/**
 * @param position 0 to `pool.size` - 1, both included
 * @throws {AppError} `invalid` for any other number
 */
export function addressAt(pool: Pool, position: number): Ipv4 {
  if (!Number.isInteger(position) || position < 0 || position >= pool.size) {
    throw invalid(`position ${position} is not in a pool of ${pool.size} addresses`, { position: `${position}` });
  }
  const n = lastAtOrBelow(pool.starts, position);
  return ipv4FromNumber((pool.leasable[n]?.first ?? 0) + position - (pool.starts[n] ?? 0));
}

/** The inverse of {@link addressAt}; `undefined` if the address cannot be leased, for whatever reason. */
export function positionOf(pool: Pool, address: Ipv4): number | undefined {
  const n = lastAtOrBelow(pool.leasable, address, (range) => range.first);
  const range = pool.leasable[n];
  return range !== undefined && address <= range.last ? (pool.starts[n] ?? 0) + address - range.first : undefined;
}

/** Why an address cannot be leased: `edge` is the first or last of a block, kept free; `undefined` if it can. */
export function whyNotInPool(pool: Pool, address: Ipv4): NotInPool | undefined {
  if (positionOf(pool, address) !== undefined) return undefined;
  if (rangeAround(pool.usable, address) !== undefined) return 'excluded';
  const below = rangeAround(pool.usable, address - 1);
  const above = rangeAround(pool.usable, address + 1);
  if (isBlockEdge(address) && (address % BLOCK_SIZE === 0 ? above : below) !== undefined) return 'edge';
  return [below, above].some((range) => range !== undefined && wholeBlock(range) !== undefined) ? 'edge' : 'outside';
}

/**
 * Canonical ranges for people, ascending: a run that is a whole aligned block less its edges as that block's CIDR,
 * neighbouring /22s as one network where aligned; any other run as `first-last`.
 */
export function describeBlocks(ranges: readonly AddressRange[]): string[] {
  const full: AddressRange[] = [];
  const lines: { first: number; text: string }[] = [];
  for (const range of normalizeRanges(ranges)) {
    const block = wholeBlock(range);
    if (block === undefined) lines.push({ first: range.first, text: formatRange(range) });
    // Smaller blocks stay apart: two /29s leave four addresses unused, the /28 of both only two.
    else if (countAddresses([block]) < BLOCK_SIZE) lines.push(...cidrLines([block]));
    else full.push(block);
  }
  lines.push(...cidrLines(full));
  return lines.sort((a, b) => a.first - b.first).map((line) => line.text);
}

function cidrLines(blocks: readonly AddressRange[]): { first: number; text: string }[] {
  return rangesToCidrs(blocks).map((cidr) => ({ first: cidr.network, text: formatCidr(cidr) }));
}

/** The aligned block of 4 to 1024 addresses that the range is all of but first and last. */
function wholeBlock(range: AddressRange): AddressRange | undefined {
  const size = range.last - range.first + 3;
  const first = range.first - 1;
  if (size > BLOCK_SIZE || size < 4 || !Number.isInteger(Math.log2(size)) || first < 0 || first % size !== 0)
    return undefined;
  return { first: ipv4FromNumber(first), last: ipv4FromNumber(first + size - 1) };
}

function isBlockEdge(address: number): boolean {
  return address % BLOCK_SIZE === 0 || address % BLOCK_SIZE === BLOCK_SIZE - 1;
}

function cutAtBlocks(range: AddressRange): AddressRange[] {
  const pieces: AddressRange[] = [];
  let start: number = range.first;
  while (start <= range.last) {
    const end = Math.min(range.last, start - (start % BLOCK_SIZE) + BLOCK_SIZE - 1);
    pieces.push({ first: ipv4FromNumber(start), last: ipv4FromNumber(end) });
    start = end + 1;
  }
  return pieces;
}

function alignedBlocks(piece: AddressRange): AddressRange[] {
  return rangesToCidrs([piece]).map((cidr) => ({ first: firstAddress(cidr), last: lastAddress(cidr) }));
}

function withoutEdges(block: AddressRange): AddressRange {
  if (block.last - block.first < 2) return block;
  return { first: ipv4FromNumber(block.first + 1), last: ipv4FromNumber(block.last - 1) };
}

function rangeAround(ranges: readonly AddressRange[], address: number): AddressRange | undefined {
  const range = ranges[lastAtOrBelow(ranges, address, (candidate) => candidate.first)];
  return range !== undefined && address <= range.last ? range : undefined;
}

/** The index of the last entry whose key is at or below `key`, -1 if there is none; the entries ascend. */
function lastAtOrBelow(sorted: readonly number[], key: number): number;
function lastAtOrBelow<T>(sorted: readonly T[], key: number, keyOf: (entry: T) => number): number;
function lastAtOrBelow(
  sorted: readonly unknown[],
  key: number,
  keyOf: (entry: never) => number = (entry) => entry,
): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (keyOf(sorted[middle] as never) <= key) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

function refuseHuge(ranges: readonly AddressRange[]): void {
  const count = countAddresses(ranges);
  if (count <= MAX_ADDRESSES) return;
  const start = ranges[0] === undefined ? '' : ` (from ${formatIpv4(ranges[0].first)} on)`;
  throw invalid(`the source has ${count} addresses${start}, more than ${MAX_ADDRESSES}`, {
    hint: 'give the reserved networks, not the network around them',
  });
}
