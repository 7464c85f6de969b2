import type { FileHandle } from 'node:fs/promises';
import type { FilePiece } from '../../../shared/domain/transfer.js';
import { withFile } from './atomic-file.js';

const SECTOR_BYTES = 512;
const ZEROS = Buffer.alloc(1024 * 1024);

export interface PieceOptions {
  /** Zeros are written where no piece is, up to the end of the last one's sector; left out: what is there reads as zeros. */
  readonly hasGapsFilled?: boolean;
}

/**
 * Writes what comes of a disk to where it is to be, a file or device that is long enough. Durable on return.
 *
 * @returns the end of what was written
 * @throws what the system says, and what ended the transfer
 */
export function writePieces(
  path: string,
  pieces: AsyncIterable<FilePiece>,
  signal: AbortSignal,
  { hasGapsFilled = false }: PieceOptions = {},
): Promise<number> {
  return withFile(path, 'r+', async (file) => {
    let end = 0;
    for await (const { bytes, offsetBytes } of pieces) {
      signal.throwIfAborted();
      if (hasGapsFilled) await writeZeros(file, end, offsetBytes, signal);
      await writeAll(file, bytes, offsetBytes);
      end = Math.max(end, offsetBytes + bytes.length);
    }
    if (hasGapsFilled) {
      const sectorEnd = Math.ceil(end / SECTOR_BYTES) * SECTOR_BYTES;
      await writeZeros(file, end, sectorEnd, signal);
      end = sectorEnd;
    }
    await file.sync();
    return end;
  });
}

async function writeZeros(file: FileHandle, from: number, to: number, signal: AbortSignal): Promise<void> {
  for (let at = from; at < to; at += ZEROS.length) {
    signal.throwIfAborted();
    await writeAll(file, ZEROS.subarray(0, Math.min(ZEROS.length, to - at)), at);
  }
}

async function writeAll(file: FileHandle, bytes: Uint8Array, offsetBytes: number): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    done += (await file.write(bytes, done, bytes.length - done, offsetBytes + done)).bytesWritten;
  }
}
