import { stat } from 'node:fs/promises';
import type { FilePiece } from '../../../shared/domain/transfer.js';
import { AppError } from '../../../shared/errors.js';
import { piecesOf } from '../../../shared/transfer/file-pieces.js';
import type { DiskContent } from '../../ports/disk-content.js';
import type { HostFiles } from '../../ports/host-files.js';
import { fileError, unlessMissing } from './atomic-file.js';

/** The files and block devices of this machine. */
export const dom0Files: DiskContent & HostFiles = {
  async exists(path) {
    try {
      return (await unlessMissing(stat(path))) !== undefined;
    } catch (error) {
      throw fileError(`${path} cannot be looked at`, error);
    }
  },

  async *read(path, file, signal): AsyncGenerator<FilePiece, void, undefined> {
    try {
      yield* piecesOf(path, file, signal);
    } catch (error) {
      signal.throwIfAborted();
      throw error instanceof AppError ? error : fileError(`The disk ${path} cannot be read`, error);
    }
  },
};
