// Invariants:
// - A piece is packed by itself: nothing of one is needed to unpack another, and what is in memory is a few pieces.
// - Whoever reads all of what `unpack` gives without an error has what was sent.
import { createHash, type Hash } from 'node:crypto';
import { promisify } from 'node:util';
import { deflate, inflate } from 'node:zlib';
import {
  checkPiece,
  type FilePiece,
  type PackedPiece,
  type TransferChunk,
  type TransferHead,
} from '../domain/transfer.js';
import { AppError, invalid } from '../errors.js';

const squeeze = promisify<Uint8Array, { level: number }, Buffer>(deflate);
const unsqueeze = promisify<Uint8Array, { maxOutputLength: number }, Buffer>(inflate);

/** The network is faster than any better level. */
const LEVEL = 1;

/** What is sent of these pieces. */
export async function* pack(
  transferId: string,
  head: TransferHead,
  pieces: AsyncIterable<FilePiece>,
): AsyncGenerator<TransferChunk, void, undefined> {
  yield { kind: 'head', transferId, head };
  const sum = createHash('sha256');
  for await (const piece of pieces) {
    addTo(sum, piece.file, piece.offsetBytes, piece.bytes);
    yield { kind: 'piece', piece: await packPiece(piece) };
  }
  yield { kind: 'end', sha256: sum.digest() };
}

export interface Unpacked {
  readonly head: TransferHead;
  /** To be read once. @throws {AppError} `invalid` if it is not what was sent, and what ended the transfer */
  readonly pieces: AsyncIterable<FilePiece>;
}

/** @throws {AppError} `invalid` if it does not begin with a head, and what ended the transfer */
export async function unpack(chunks: AsyncIterable<TransferChunk>): Promise<Unpacked> {
  const iterator = chunks[Symbol.asyncIterator]();
  const first = await iterator.next();
  if (first.done === true || first.value.kind !== 'head') throw invalid('A transfer does not begin with its head');
  const { head } = first.value;
  return { head, pieces: unpackPieces(head, iterator) };
}

async function* unpackPieces(
  head: TransferHead,
  chunks: AsyncIterator<TransferChunk>,
): AsyncGenerator<FilePiece, void, undefined> {
  const sum = createHash('sha256');
  try {
    for (;;) {
      const next = await chunks.next();
      if (next.done === true) throw new AppError('unavailable', 'A transfer ended before all of it was there');
      const chunk = next.value;
      if (chunk.kind === 'head') throw invalid('A transfer has a second head');
      if (chunk.kind === 'end') return checkSum(sum, chunk.sha256);
      const piece = await unpackPiece(head, chunk.piece);
      addTo(sum, piece.file, piece.offsetBytes, piece.bytes);
      yield piece;
    }
  } finally {
    await chunks.return?.();
  }
}

async function packPiece({ file, offsetBytes, bytes }: FilePiece): Promise<PackedPiece> {
  const packed = await squeeze(bytes, { level: LEVEL });
  const isPacked = packed.length < bytes.length;
  return { file, offsetBytes, sizeBytes: bytes.length, isPacked, data: isPacked ? packed : bytes };
}

async function unpackPiece(head: TransferHead, piece: PackedPiece): Promise<FilePiece> {
  checkPiece(head, piece);
  const { file, offsetBytes, sizeBytes, isPacked, data } = piece;
  const bytes = isPacked ? await inflated(data, sizeBytes) : data;
  if (bytes.length !== sizeBytes) throw damaged();
  return { file, offsetBytes, bytes };
}

async function inflated(data: Uint8Array, sizeBytes: number): Promise<Buffer> {
  try {
    return await unsqueeze(data, { maxOutputLength: sizeBytes });
  } catch {
    throw damaged();
  }
}

function checkSum(sum: Hash, expected: Uint8Array): void {
  if (!sum.digest().equals(expected)) throw damaged();
}

function damaged(): AppError {
  return invalid('What came is not what was sent: a checksum differs', { hint: 'try again' });
}

function addTo(sum: Hash, file: number, offsetBytes: number, bytes: Uint8Array): void {
  const where = Buffer.alloc(12);
  where.writeUInt32BE(file, 0);
  where.writeBigUInt64BE(BigInt(offsetBytes), 4);
  sum.update(where).update(bytes);
}
