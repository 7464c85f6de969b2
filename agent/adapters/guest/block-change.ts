// A change of a disk as bytes at places, with what stood there before.
//
// Invariants:
// - It is durable as a record before the first byte of the disk is changed, so that a death at any moment can be undone.
// - Both directions may be repeated, and either may follow a death in the other: a piece may then be in part as before and in
//   part as after. Neither is done if any sector is neither: then the disk was changed by others, and putting old pieces into
//   it would damage it.
import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import * as v from 'valibot';
import { AppError, messageOf, wrongState } from '../../../shared/errors.js';
import type { Originals } from '../../domain/guest/guest-original.js';
import { OriginalsSchema } from './original-record.js';

/** Bytes that a disk writes whole or not at all, even at a power cut. */
const SECTOR_BYTES = 512;

const Base64 = v.pipe(
  v.string(),
  v.transform((text) => Buffer.from(text, 'base64')),
);

const ChangeSchema = v.object({
  version: v.literal(1),
  cfgPath: v.string(),
  disk: v.string(),
  format: v.optional(v.picklist(['raw', 'qcow2']), 'raw'),
  warnings: v.array(v.string()),
  originals: v.optional(OriginalsSchema, {}),
  fsUuid: v.optional(v.string(), ''),
  isRestore: v.optional(v.boolean(), false),
  pieces: v.array(v.object({ at: v.number(), before: Base64, after: Base64 })),
});

export interface Piece {
  /** Bytes from the beginning of the disk. */
  readonly at: number;
  /** Both have the same length. */
  readonly before: Buffer;
  readonly after: Buffer;
}

export interface BlockChange {
  readonly cfgPath: string;
  /** A file or block device. */
  readonly disk: string;
  /** Pieces count in the bytes that the guest sees. */
  readonly format: 'raw' | 'qcow2';
  readonly warnings: readonly string[];
  /** What the files were that it changes. */
  readonly originals: Originals;
  /** Of the file system; empty: not known. */
  readonly fsUuid: string;
  /** It makes the files what they were before the first change. */
  readonly isRestore: boolean;
  readonly pieces: readonly Piece[];
}

export function formatBlockChange(change: BlockChange): Buffer {
  const pieces = change.pieces.map(({ at, before, after }) => ({
    at,
    before: before.toString('base64'),
    after: after.toString('base64'),
  }));
  return Buffer.from(JSON.stringify({ version: 1, ...change, pieces }));
}

/** @throws {AppError} `wrong_state` if it is damaged */
export function parseBlockChange(bytes: Uint8Array): BlockChange {
  try {
    return v.parse(ChangeSchema, JSON.parse(Buffer.from(bytes).toString()));
  } catch (error) {
    throw wrongState(`The record of a change cannot be read: ${messageOf(error)}`);
  }
}

/**
 * @param fsAt where the file system begins on the disk, in bytes; pieces count from the beginning of the disk
 * @param edited where `ranges` of the file system hold what the disk's is to hold there
 * @throws {AppError} `unavailable`
 */
export async function readPieces(
  { disk, at: fsAt }: { readonly disk: string; readonly at: number },
  edited: string,
  ranges: readonly { readonly at: number; readonly sizeBytes: number }[],
): Promise<readonly Piece[]> {
  return withDisk(disk, constants.O_RDONLY, (before) =>
    withDisk(edited, constants.O_RDONLY, async (after) => {
      const pieces: Piece[] = [];
      for (const { at, sizeBytes } of ranges) {
        const here = await readAt(before, fsAt + at, sizeBytes);
        pieces.push({ at: fsAt + at, before: here, after: await readAt(after, at, sizeBytes) });
      }
      return pieces.filter((piece) => !piece.before.equals(piece.after));
    }),
  );
}

/**
 * @param disk where those bytes are to be had
 * @throws {AppError} `raced` (changed by others), `wrong_state` (in use), `unavailable`
 */
export async function writePieces(
  disk: string,
  { disk: name, pieces }: BlockChange,
  side: 'before' | 'after',
): Promise<void> {
  // Of a block device O_EXCL is refused while it is mounted or held.
  await withDisk(disk, constants.O_RDWR | constants.O_EXCL, async (file) => {
    for (const { at, before, after } of pieces) {
      const now = await readAt(file, at, before.length);
      if (!isMixOf(now, before, after)) {
        throw new AppError('raced', `${name} was changed by others meanwhile`, { disk: name, at: `${at}` });
      }
    }
    for (const piece of pieces) await writeAt(file, piece.at, piece[side]);
    await file.sync();
  });
}

/** Of a disk that is not in use yet: a death in the middle is for whoever made the disk. @throws {AppError} as {@link writePieces} */
export async function writeTable(
  disk: string,
  writes: readonly { readonly at: number; readonly bytes: Uint8Array }[],
): Promise<void> {
  await withDisk(disk, constants.O_RDWR | constants.O_EXCL, async (file) => {
    for (const { at, bytes } of writes) await writeAt(file, at, Buffer.from(bytes));
    await file.sync();
  });
}

function isMixOf(now: Buffer, before: Buffer, after: Buffer): boolean {
  for (let at = 0; at < now.length; at += SECTOR_BYTES) {
    const sector = now.subarray(at, at + SECTOR_BYTES);
    const isKnown = [before, after].some((side) => sector.equals(side.subarray(at, at + SECTOR_BYTES)));
    if (!isKnown) return false;
  }
  return true;
}

async function withDisk<T>(path: string, flags: number, use: (file: FileHandle) => Promise<T>): Promise<T> {
  let file: FileHandle | undefined;
  try {
    file = await open(path, flags);
    return await use(file);
  } catch (error) {
    if (error instanceof AppError) throw error;
    const errno = error instanceof Error && 'code' in error ? String(error.code) : '';
    if (errno === 'EBUSY') throw wrongState(`${path} is in use`, { disk: path });
    throw new AppError('unavailable', `${path}: ${messageOf(error)}`, { errno }, error);
  } finally {
    await file?.close();
  }
}

async function readAt(file: FileHandle, at: number, sizeBytes: number): Promise<Buffer> {
  const buffer = Buffer.alloc(sizeBytes);
  for (let done = 0; done < sizeBytes;) {
    const { bytesRead } = await file.read(buffer, done, sizeBytes - done, at + done);
    if (bytesRead === 0) throw wrongState(`The disk ends before its file system does`, { at: `${at + done}` });
    done += bytesRead;
  }
  return buffer;
}

async function writeAt(file: FileHandle, at: number, bytes: Buffer): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, at + done);
    done += bytesWritten;
  }
}
