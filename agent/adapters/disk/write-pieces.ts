import type { FileHandle } from 'node:fs/promises';
import type { FilePiece } from '../../../shared/domain/transfer.js';
import { withFile } from './atomic-file.js';

/** Fills a fresh file with what comes of one, holes left out. @throws what the system says, and what ended the transfer */
export function writePieces(
  path: string,
  sizeBytes: number,
  pieces: AsyncIterable<FilePiece>,
  signal: AbortSignal,
): Promise<void> {
  return withFile(path, 'r+', async (file) => {
    await file.truncate(sizeBytes);
    for await (const { bytes, offsetBytes } of pieces) {
      signal.throwIfAborted();
      await writeAll(file, bytes, offsetBytes);
    }
  });
}

async function writeAll(file: FileHandle, bytes: Uint8Array, offsetBytes: number): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    done += (await file.write(bytes, done, bytes.length - done, offsetBytes + done)).bytesWritten;
  }
}
