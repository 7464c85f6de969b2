import { open, realpath, stat, type FileHandle } from 'node:fs/promises';
import { type AppError, invalid, notFound, toAppError, wrongState } from '../../../shared/errors.js';
import type { DiskImage } from '../../domain/new-disk.js';
import { DISK_HEAD_BYTES, type DiskContent, diskContent } from '../../domain/guest/disk-content.js';
import {
  MAX_LOGICAL,
  parseLogical,
  parsePartitionTable,
  type Partition,
  type PartitionTable,
} from '../../domain/guest/partition-table.js';
import { rootDisks, type RootPlace } from '../../domain/guest/root-disk.js';
import type { XlCfg } from '../../domain/xl-cfg/syntax.js';
import type { RawViews, ViewAccess } from '../../ports/raw-views.js';
import type { E2fsTools, FsImage } from './e2fs-tools.js';

/** The file system that a guest has its root on. */
export interface RootDisk extends FoundRoot {
  /** What `disk` shows: itself, if it is raw. */
  readonly image: DiskImage;
}

export interface RootSearch {
  readonly tools: E2fsTools;
  readonly views: RawViews;
  readonly access: ViewAccess;
  readonly signal: AbortSignal;
}

interface FoundRoot extends FsImage {
  /** Of a disk with partitions: which one it is. */
  readonly partition: number | undefined;
  /** Bytes that it may have: those of its partition, or disk. */
  readonly roomBytes: number;
  /** Bytes of all its blocks. */
  readonly sizeBytes: number;
  readonly isClean: boolean;
  readonly fsUuid: string;
}

type ExtContent = Extract<DiskContent, { kind: 'ext' }>;
type TableContent = Extract<DiskContent, { kind: 'table' }>;

/**
 * Uses the first place that holds an ext file system. Of a disk with partitions that is the one that the kernel is told of,
 * else the one that its table calls a root, else the first with an /etc.
 *
 * @throws {AppError} `not_found`, `invalid`, `wrong_state` (a damaged partition table), as {@link RawViews.withRaw}; what
 *   `use` throws
 */
export async function withRoot<T>(
  cfg: XlCfg,
  { tools, views, access, signal }: RootSearch,
  use: (root: RootDisk) => Promise<T>,
): Promise<T> {
  const failed: { refusal?: AppError; isUsed?: boolean } = {};
  for (const place of rootDisks(cfg)) {
    try {
      const path = await realpath(place.target).catch(() => undefined);
      if (path === undefined) throw noDisk(place);
      const image = { path, format: place.format };
      return await views.withRaw(image, access, signal, async (raw) => {
        const root = { ...(await rootIn(raw, place, tools, signal)), image };
        failed.isUsed = true;
        return use(root);
      });
    } catch (error) {
      if (failed.isUsed) throw error;
      failed.refusal ??= toAppError(error);
    }
  }
  throw failed.refusal ?? invalid('The cfg has no disk that can hold a root');
}

function noDisk({ target }: RootPlace): AppError {
  return notFound(`There is no disk ${target}`, { disk: target, hint: 'look at disk= of the cfg' });
}

/** The beginning of a disk, and how long it is. */
export async function readHead(path: string): Promise<{ readonly head: Uint8Array; readonly diskBytes: number }> {
  return withDisk(path, async (file) => ({ head: await headAt(file, 0), diskBytes: await lengthOf(file) }));
}

async function rootIn(path: string, place: RootPlace, tools: E2fsTools, signal: AbortSignal): Promise<FoundRoot> {
  return withDisk(path, async (file) => {
    const head = await headAt(file, 0);
    const diskBytes = await lengthOf(file);
    const content = diskContent(head);
    if (content.kind === 'ext' && place.partition === undefined) {
      return rootOf({ disk: path, at: 0 }, undefined, diskBytes, content);
    }
    if (content.kind !== 'table') throw noRoot(place, content);
    const partitions = await partitionsOf(file, head, diskBytes);
    if (partitions === undefined) throw noRoot(place, content);
    return partitionIn(path, file, place, partitions, content, tools, signal);
  });
}

async function partitionIn(
  path: string,
  file: FileHandle,
  place: RootPlace,
  partitions: readonly Partition[],
  table: TableContent,
  tools: E2fsTools,
  signal: AbortSignal,
): Promise<FoundRoot> {
  const chosen = partitions.filter(({ number }) => place.partition === undefined || number === place.partition);
  const found: { readonly root: FoundRoot; readonly isRoot: boolean }[] = [];
  const others: string[] = [];
  let hint: string | undefined;
  for (const { number, at, sizeBytes, isRoot } of chosen) {
    const content = diskContent(await headAt(file, at));
    if (content.kind !== 'ext') {
      others.push(`${number} holds ${content.what}`);
      hint ??= content.hint;
    } else found.push({ root: rootOf({ disk: path, at }, number, sizeBytes, content), isRoot });
  }
  const marked = found.find(({ isRoot }) => isRoot) ?? (found.length === 1 ? found[0] : undefined);
  if (marked !== undefined) return marked.root;
  for (const { root } of found) if (await tools.hasFolder(root, '/etc', signal)) return root;
  const bare = found.map(({ root }) => `${root.partition} has no /etc`);
  throw noRootPartition(place, partitions, [...others, ...bare], hint ?? table.hint);
}

function noRootPartition(
  { target, partition }: RootPlace,
  partitions: readonly Partition[],
  reasons: readonly string[],
  hint: string,
): AppError {
  const numbers = partitions.map(({ number }) => number).join(', ') || 'none';
  const whose =
    partition === undefined ? `No partition of ${target} has the` : `Partition ${partition} of ${target} has no`;
  if (reasons.length > 0) {
    return invalid(`${whose} file system of a root, ext2, ext3 or ext4: ${reasons.join(', ')}`, { disk: target, hint });
  }
  return invalid(`The root is partition ${partition ?? ''} of ${target}, which has: ${numbers}`, {
    disk: target,
    hint,
  });
}

/** @throws {AppError} `wrong_state` if it is larger than its place: what is written could be another's */
function rootOf(
  place: FsImage,
  partition: number | undefined,
  roomBytes: number,
  { isClean, uuid, sizeBytes }: ExtContent,
): FoundRoot {
  if (sizeBytes <= roomBytes) return { ...place, partition, roomBytes, sizeBytes, isClean, fsUuid: uuid };
  const where = partition === undefined ? place.disk : `partition ${partition} of ${place.disk}`;
  throw wrongState(`The file system on ${where} is longer than that: ${sizeBytes} bytes of ${roomBytes}`, {
    disk: place.disk,
    hint: 'was the disk cut short? make it as long as it was',
  });
}

async function partitionsOf(
  file: FileHandle,
  head: Uint8Array,
  diskBytes: number,
): Promise<readonly Partition[] | undefined> {
  const table = parsePartitionTable(head, diskBytes);
  return table && [...table.partitions, ...(await logicalOf(file, table))];
}

async function logicalOf(file: FileHandle, { extended }: PartitionTable): Promise<readonly Partition[]> {
  const found: Partition[] = [];
  let tableAt = extended?.at;
  for (let number = 5; extended && tableAt !== undefined && number < 5 + MAX_LOGICAL; number += 1) {
    const { partition, nextAt } = parseLogical(await headAt(file, tableAt), tableAt, extended);
    if (partition) found.push({ ...partition, number, isRoot: false });
    tableAt = nextAt;
  }
  return found;
}

function noRoot({ target, partition }: RootPlace, content: DiskContent): AppError {
  if (content.kind === 'ext') {
    return invalid(`The root is partition ${partition}, and the disk ${target} has none: it is one file system`, {
      disk: target,
      hint: 'look at root= and disk= of the cfg',
    });
  }
  return invalid(`The disk ${target} is not ext2, ext3 or ext4: it holds ${content.what}`, {
    disk: target,
    hint: content.hint,
  });
}

async function withDisk<T>(path: string, use: (file: FileHandle) => Promise<T>): Promise<T> {
  const found = await stat(path);
  if (!found.isFile() && !found.isBlockDevice()) throw invalid(`The disk ${path} is neither a file nor a block device`);
  const file = await open(path, 'r');
  try {
    return await use(file);
  } finally {
    await file.close();
  }
}

async function headAt(file: FileHandle, at: number): Promise<Uint8Array> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(DISK_HEAD_BYTES), 0, DISK_HEAD_BYTES, at);
  return buffer.subarray(0, bytesRead);
}

/** A block device says nothing of its length to stat(2); what can be read of it does. */
async function lengthOf(file: FileHandle): Promise<number> {
  const found = await file.stat();
  if (!found.isBlockDevice()) return found.size;
  const sector = Buffer.alloc(1);
  let [low, high] = [0, 1];
  const hasByte = async (at: number): Promise<boolean> => (await file.read(sector, 0, 1, at)).bytesRead === 1;
  while (await hasByte(high * 512 - 1)) [low, high] = [high, high * 2];
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (await hasByte(middle * 512 - 1)) low = middle;
    else high = middle;
  }
  return low * 512;
}
