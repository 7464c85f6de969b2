import type { FileHandle } from 'node:fs/promises';
import type { FilePiece } from '../../../shared/domain/transfer.js';
import { withFile } from './atomic-file.js';

/**
 * Writes what comes of a disk to where it is to be, a file or device that is long enough and all zeros. Durable on return.
 *
 * @throws what the system says, and what ended the transfer
 */
export function writePieces(path: string, pieces: AsyncIterable<FilePiece>, signal: AbortSignal): Promise<void> {
  return withFile(path, 'r+', async (file) => {
    for await (const { bytes, offsetBytes } of pieces) {
      signal.throwIfAborted();
      await writeAll(file, bytes, offsetBytes);
    }
    await file.sync();
  });
}

async function writeAll(file: FileHandle, bytes: Uint8Array, offsetBytes: number): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    done += (await file.write(bytes, done, bytes.length - done, offsetBytes + done)).bytesWritten;
  }
}
