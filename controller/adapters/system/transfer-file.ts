import { stat } from 'node:fs/promises';
import { basename } from 'node:path';
import type { TransferChunk } from '../../../shared/domain/transfer.js';
import { AppError, messageOf, notFound } from '../../../shared/errors.js';
import { piecesOf } from '../../../shared/transfer/file-pieces.js';
import { pack } from '../../../shared/transfer/pack.js';
import type { TransferSource } from '../../ports/transfer-source.js';

/** st_blocks(3type) counts in these. */
const BLOCK_BYTES = 512;

export const transferFiles: TransferSource = {
  async *chunksOf(path: string, transferId: string, signal: AbortSignal): AsyncGenerator<TransferChunk> {
    try {
      const { size, blocks } = await stat(path);
      const file = { name: basename(path), sizeBytes: size, usedBytes: Math.min(size, blocks * BLOCK_BYTES) };
      yield* pack(transferId, { files: [file], cfgText: undefined }, piecesOf(path, 0, signal));
    } catch (error) {
      throw error instanceof AppError ? error : asAppError(path, error);
    }
  },
};

function asAppError(path: string, error: unknown): AppError {
  if (error instanceof Error && 'code' in error && error.code === 'ENOENT') {
    return notFound(`The controller's machine has no file ${path}`, { path });
  }
  return new AppError('unavailable', `${path} cannot be read: ${messageOf(error)}`, { path }, error);
}
