import { open } from 'node:fs/promises';
import { MAX_PIECE_BYTES, type FilePiece } from '../domain/transfer.js';

const ZEROS = Buffer.alloc(MAX_PIECE_BYTES);
/** Read in seconds from any disk that is not broken. */
const MAX_GAP_BYTES = 1024 ** 3;

/**
 * What of a file, or a block device, is not zeros. After so long a gap a piece of zeros comes all the same: a transfer in which
 * nothing moves is taken for dead.
 *
 * @param file its number among those that are sent
 * @throws what the system says, and the signal's reason
 */
export async function* piecesOf(
  path: string,
  file: number,
  signal: AbortSignal,
  maxGapBytes = MAX_GAP_BYTES,
): AsyncGenerator<FilePiece, void, undefined> {
  const handle = await open(path, 'r');
  try {
    for (let [offsetBytes, end] = [0, 0]; ;) {
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
      const isZeros = bytes.equals(ZEROS.subarray(0, bytesRead));
      if (!isZeros || offsetBytes - end >= maxGapBytes) {
        yield { file, offsetBytes, bytes };
        end = offsetBytes + bytesRead;
      }
      offsetBytes += bytesRead;
    }
  } finally {
    await handle.close();
  }
}
