// The two kinds of partition tables, in bytes of a disk with sectors of 512: GPT (UEFI 2.10, 5.3) and MBR.
//
// Invariants:
// - A place that is told lies inside the disk, and no two partitions share a byte: what is written into one is in no other.
import { type AppError, invalid, wrongState } from '../../../shared/errors.js';
import { crc32 } from './crc32.js';

const SECTOR = 512;
/** Linux makes no more logical ones of an MBR. */
export const MAX_LOGICAL = 60;
const MAX_GPT_ENTRIES = 1_024;
const GPT_ENTRY_BYTES = 128;
const HEADER_BYTES = 92;
const SIGNATURE = 'EFI PART';
/** Protective: the table is a GPT. */
const MBR_GPT = 0xee;
const MBR_EXTENDED: ReadonlySet<number> = new Set([0x05, 0x0f, 0x85]);
/** "Linux root", of x86-64: what an installer of today marks the root with. */
const GPT_ROOT = '4f68bce3-e8cd-4db1-96e7-fbcaf984b709';
const MAX_LBA = 0xffff_ffff;

export interface Partition {
  /** As Linux counts: 2 of /dev/xvda2. */
  readonly number: number;
  /** Bytes from the beginning of the disk. */
  readonly at: number;
  readonly sizeBytes: number;
  /** The table says that it is the root of a Linux. */
  readonly isRoot: boolean;
}

export interface PartitionTable {
  readonly kind: 'gpt' | 'mbr';
  readonly partitions: readonly Partition[];
  /** Holds logical partitions, as a chain of tables that {@link parseLogical} reads. */
  readonly extended?: Extent | undefined;
}

export interface Extent {
  readonly at: number;
  readonly sizeBytes: number;
}

/** Bytes to be written at a place of the disk. */
export interface TableWrite {
  readonly at: number;
  readonly bytes: Uint8Array;
}

/**
 * @param head the beginning of the disk, with all of a GPT's entries: the first 64 KiB
 * @returns `undefined` if there is none
 * @throws {AppError} `wrong_state` if it is damaged: a checksum, a place outside of the disk, partitions that overlap
 */
export function parsePartitionTable(head: Uint8Array, diskBytes: number): PartitionTable | undefined {
  const entries = mbrEntries(head);
  if (entries === undefined) return undefined;
  if (entries.some(({ type }) => type === MBR_GPT)) return parseGpt(head, diskBytes);
  if (entries.length === 0) return undefined;
  const extended = entries.find(({ type }) => MBR_EXTENDED.has(type));
  const plain = entries.filter(({ type }) => !MBR_EXTENDED.has(type));
  const partitions = plain.map(({ number, at, sizeBytes }) => ({ number, at, sizeBytes, isRoot: false }));
  expectSound([...partitions, ...(extended ? [extended] : [])], diskBytes);
  return { kind: 'mbr', partitions, extended: extended && { at: extended.at, sizeBytes: extended.sizeBytes } };
}

export interface Logical {
  readonly partition: Extent | undefined;
  /** Where the next table is; `undefined`: this is the last. */
  readonly nextAt: number | undefined;
}

/**
 * One table of the chain in an extended partition. The first is at its beginning; whoever follows the chain ends after
 * {@link MAX_LOGICAL}, since a damaged one may be a ring.
 *
 * @throws {AppError} `wrong_state` for a place outside of the extended partition
 */
export function parseLogical(sector: Uint8Array, tableAt: number, extended: Extent): Logical {
  const [first, second] = mbrEntries(sector) ?? [];
  const inside = (at: number, sizeBytes: number): Extent => {
    if (at >= extended.at && at + sizeBytes <= extended.at + extended.sizeBytes) return { at, sizeBytes };
    throw damaged('a logical partition lies outside of the extended one');
  };
  const own = first && !MBR_EXTENDED.has(first.type) ? inside(tableAt + first.at, first.sizeBytes) : undefined;
  const next = [first, second].find((entry) => entry && MBR_EXTENDED.has(entry.type));
  return { partition: own, nextAt: next && inside(extended.at + next.at, SECTOR).at };
}

/**
 * What makes a partition reach to the end of its disk, which became longer; the place where it begins stays.
 *
 * @returns the writes, in the order in which they are made, and the size that the partition has then
 * @throws {AppError} `invalid` if it is not the last one, or a logical one
 */
export function planGrowth(
  head: Uint8Array,
  diskBytes: number,
  number: number,
): { readonly writes: readonly TableWrite[]; readonly sizeBytes: number } {
  const table = parsePartitionTable(head, diskBytes);
  const own = table?.partitions.find((partition) => partition.number === number);
  if (table === undefined || own === undefined) {
    throw invalid(`Partition ${number} cannot be grown: it is a logical one`, { hint: 'grow it inside the guest' });
  }
  const others = [...table.partitions, ...(table.extended ? [table.extended] : [])];
  if (others.some(({ at }) => at > own.at)) {
    throw invalid(`Partition ${number} cannot be grown: another one begins after it`, {
      hint: 'leave --disk out; add a disk instead, or grow it inside the guest',
    });
  }
  return table.kind === 'gpt' ? growGpt(head, diskBytes, own) : growMbr(head, diskBytes, own);
}

interface MbrEntry extends Extent {
  readonly number: number;
  readonly type: number;
}

/** `undefined` if the sector is no MBR; a boot sector of a file system has its mark too. */
function mbrEntries(head: Uint8Array): readonly MbrEntry[] | undefined {
  if (head.length < SECTOR || head[510] !== 0x55 || head[511] !== 0xaa) return undefined;
  const view = viewOf(head);
  const slots = [0, 1, 2, 3].map((n) => {
    const at = 446 + n * 16;
    const extent = { at: view.getUint32(at + 8, true) * SECTOR, sizeBytes: view.getUint32(at + 12, true) * SECTOR };
    return { number: n + 1, status: view.getUint8(at), type: view.getUint8(at + 4), ...extent };
  });
  if (slots.some(({ status }) => (status & 0x7f) !== 0)) return undefined;
  return slots.filter(({ type, sizeBytes }) => type !== 0 && sizeBytes > 0);
}

interface GptHeader {
  readonly headerBytes: number;
  readonly entriesAt: number;
  readonly count: number;
  readonly entryBytes: number;
}

function parseGpt(head: Uint8Array, diskBytes: number): PartitionTable {
  const { entriesAt, count, entryBytes } = gptHeader(head);
  const view = viewOf(head);
  const partitions: Partition[] = [];
  for (let n = 0; n < count; n += 1) {
    const at = entriesAt + n * entryBytes;
    const type = guidAt(view, at);
    if (/^[0-]+$/.test(type)) continue;
    const [first, last] = [lbaAt(view, at + 32), lbaAt(view, at + 40)];
    const extent = { at: first * SECTOR, sizeBytes: (last - first + 1) * SECTOR };
    partitions.push({ number: n + 1, ...extent, isRoot: type === GPT_ROOT });
  }
  expectSound(partitions, diskBytes);
  return { kind: 'gpt', partitions };
}

/** @throws {AppError} `wrong_state` unless header and entries have their checksums */
function gptHeader(head: Uint8Array): GptHeader {
  const view = viewOf(head);
  if (head.length < 2 * SECTOR || textAt(head, SECTOR, 8) !== SIGNATURE) throw damaged('its header is missing');
  const headerBytes = view.getUint32(SECTOR + 12, true);
  if (headerBytes < HEADER_BYTES || headerBytes > SECTOR) throw damaged('its header has no sensible length');
  const header = copyOf(head, SECTOR, SECTOR + headerBytes);
  header.fill(0, 16, 20);
  if (crc32(header) !== view.getUint32(SECTOR + 16, true)) throw damaged('the checksum of its header is wrong');
  const entriesAt = lbaAt(view, SECTOR + 72) * SECTOR;
  const count = view.getUint32(SECTOR + 80, true);
  const entryBytes = view.getUint32(SECTOR + 84, true);
  const isSensible = count <= MAX_GPT_ENTRIES && entryBytes >= GPT_ENTRY_BYTES && entryBytes <= 4_096;
  if (!isSensible || entriesAt < 2 * SECTOR || entriesAt + count * entryBytes > head.length) {
    throw damaged('its entries are not where they should be');
  }
  const entries = head.subarray(entriesAt, entriesAt + count * entryBytes);
  if (crc32(entries) !== view.getUint32(SECTOR + 88, true)) throw damaged('the checksum of its entries is wrong');
  return { headerBytes, entriesAt, count, entryBytes };
}

function growMbr(
  head: Uint8Array,
  diskBytes: number,
  { number, at }: Partition,
): { readonly writes: readonly TableWrite[]; readonly sizeBytes: number } {
  const sectors = Math.min(Math.floor(diskBytes / SECTOR), MAX_LBA) - at / SECTOR;
  const bytes = copyOf(head, 0, SECTOR);
  viewOf(bytes).setUint32(446 + (number - 1) * 16 + 12, sectors, true);
  return { writes: [{ at: 0, bytes }], sizeBytes: sectors * SECTOR };
}

/** The copy at the end is written first: there is a sound table at any time. */
function growGpt(
  head: Uint8Array,
  diskBytes: number,
  { number, at }: Partition,
): { readonly writes: readonly TableWrite[]; readonly sizeBytes: number } {
  const { headerBytes, entriesAt, count, entryBytes } = gptHeader(head);
  const lastLba = Math.floor(diskBytes / SECTOR) - 1;
  const entrySectors = Math.ceil((count * entryBytes) / SECTOR);
  const lastUsable = lastLba - entrySectors - 1;
  const entries = copyOf(head, entriesAt, entriesAt + count * entryBytes);
  setLba(viewOf(entries), (number - 1) * entryBytes + 40, lastUsable);
  const headerFor = (own: number, other: number, entriesLba: number): Uint8Array => {
    const bytes = copyOf(head, SECTOR, 2 * SECTOR);
    const view = viewOf(bytes);
    setLba(view, 24, own);
    setLba(view, 32, other);
    setLba(view, 48, lastUsable);
    setLba(view, 72, entriesLba);
    view.setUint32(88, crc32(entries), true);
    view.setUint32(16, 0, true);
    view.setUint32(16, crc32(bytes.subarray(0, headerBytes)), true);
    return bytes;
  };
  const copyLba = lastLba - entrySectors;
  return {
    writes: [
      { at: copyLba * SECTOR, bytes: entries },
      { at: lastLba * SECTOR, bytes: headerFor(lastLba, 1, copyLba) },
      { at: 0, bytes: protectiveMbr(head, lastLba) },
      { at: entriesAt, bytes: entries },
      { at: SECTOR, bytes: headerFor(1, lastLba, entriesAt / SECTOR) },
    ],
    sizeBytes: (lastUsable + 1) * SECTOR - at,
  };
}

function protectiveMbr(head: Uint8Array, lastLba: number): Uint8Array {
  const bytes = copyOf(head, 0, SECTOR);
  const view = viewOf(bytes);
  const slot = [0, 1, 2, 3].map((n) => 446 + n * 16).find((at) => view.getUint8(at + 4) === MBR_GPT);
  if (slot !== undefined) view.setUint32(slot + 12, Math.min(lastLba, MAX_LBA), true);
  return bytes;
}

function expectSound(extents: readonly Extent[], diskBytes: number): void {
  const sorted = [...extents].sort((a, b) => a.at - b.at);
  let end = SECTOR;
  for (const { at, sizeBytes } of sorted) {
    if (at < end) throw damaged('two partitions overlap, or one has the table itself');
    end = at + sizeBytes;
    if (sizeBytes <= 0 || end > diskBytes) throw damaged('a partition reaches beyond the end of the disk');
  }
}

function damaged(why: string): AppError {
  return wrongState(`The partition table is damaged: ${why}`, {
    hint: 'look at it with sfdisk --verify or sgdisk --verify, on the host',
  });
}

/** slice() of a Buffer shares its memory. */
function copyOf(bytes: Uint8Array, from: number, to: number): Uint8Array {
  return new Uint8Array(bytes.subarray(from, to));
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Of a disk with more sectors than a number counts exactly there is none. */
function lbaAt(view: DataView, at: number): number {
  return Number(view.getBigUint64(at, true));
}

function setLba(view: DataView, at: number, lba: number): void {
  view.setBigUint64(at, BigInt(lba), true);
}

function textAt(bytes: Uint8Array, at: number, length: number): string {
  return String.fromCharCode(...bytes.subarray(at, at + length));
}

/** The first three groups have their low byte first. */
function guidAt(view: DataView, at: number): string {
  const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, '0');
  const bytes = Array.from({ length: 8 }, (_, n) => hex(view.getUint8(at + 8 + n), 2));
  const head = [
    hex(view.getUint32(at, true), 8),
    hex(view.getUint16(at + 4, true), 4),
    hex(view.getUint16(at + 6, true), 4),
  ];
  return [...head, bytes.slice(0, 2).join(''), bytes.slice(2).join('')].join('-');
}
