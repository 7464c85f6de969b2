import { open } from 'node:fs/promises';
import { MAX_PIECE_BYTES, type FilePiece } from '../domain/transfer.js';

const ZEROS = Buffer.alloc(MAX_PIECE_BYTES);

/**
 * What of a file, or a block device, is not zeros.
 *
 * @param file its number among those that are sent
 * @throws what the system says, and the signal's reason
 */
export async function* piecesOf(
  path: string,
  file: number,
  signal: AbortSignal,
): AsyncGenerator<FilePiece, void, undefined> {
  const handle = await open(path, 'r');
  try {
    for (let offsetBytes = 0; ;) {
      signal.throwIfAborted();
      // A new one each time: the last may still wait to be sent.
      const { bytesRead, buffer } = await handle.read(
        Buffer.allocUnsafe(MAX_PIECE_BYTES),
        0,
        MAX_PIECE_BYTES,
        offsetBytes,
      );
      if (bytesRead === 0) return;
      const bytes = buffer.subarray(0, bytesRead);
      if (!bytes.equals(ZEROS.subarray(0, bytesRead))) yield { file, offsetBytes, bytes };
      offsetBytes += bytesRead;
    }
  } finally {
    await handle.close();
  }
}
