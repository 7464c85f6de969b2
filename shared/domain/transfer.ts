import { invalid } from '../errors.js';

/** Bytes of a file that go in one piece, at most: a few of them are all that is in memory of a transfer. */
export const MAX_PIECE_BYTES = 256 * 1024;

/** A file that is sent. */
export interface TransferFile {
  /** For the receiver to know it by: a disk's path on the host that sends it, the base name of an image. */
  readonly name: string;
  readonly sizeBytes: number;
  /** What the sender's file takes, holes left out; at most its size. */
  readonly usedBytes: number;
}

/** What comes, told before it comes: a receiver refuses before anything was sent. */
export interface TransferHead {
  readonly files: readonly TransferFile[];
  /** Of a VM: its cfg, one character a byte. `undefined`: what is sent is no VM. */
  readonly cfgText: string | undefined;
}

/** A part of a file. What no piece covers is zeros. */
export interface FilePiece {
  /** From 0, in the order of the head. */
  readonly file: number;
  /** From the beginning of the file. */
  readonly offsetBytes: number;
  /** 1 to {@link MAX_PIECE_BYTES}. */
  readonly bytes: Uint8Array;
}

/** A part of a file as it travels. */
export interface PackedPiece {
  readonly file: number;
  readonly offsetBytes: number;
  /** Of what `data` becomes. */
  readonly sizeBytes: number;
  readonly isPacked: boolean;
  readonly data: Uint8Array;
}

/** Head, pieces, end: in this order. */
export type TransferChunk =
  | { readonly kind: 'head'; readonly transferId: string; readonly head: TransferHead }
  | { readonly kind: 'piece'; readonly piece: PackedPiece }
  | { readonly kind: 'end'; readonly sha256: Uint8Array };

/** @throws {AppError} `invalid` if the piece is not of the files that were told */
export function checkPiece({ files }: TransferHead, piece: PackedPiece): void {
  const { file, offsetBytes, sizeBytes, data } = piece;
  const target = files[file];
  const isSized = sizeBytes >= 1 && sizeBytes <= MAX_PIECE_BYTES && data.length <= MAX_PIECE_BYTES;
  if (target !== undefined && isSized && offsetBytes >= 0 && offsetBytes + sizeBytes <= target.sizeBytes) return;
  const where = `file ${String(file)}, ${String(sizeBytes)} bytes at ${String(offsetBytes)}`;
  throw invalid(`A piece is of no file that was told of: ${where}`, { file: target?.name ?? '' });
}
