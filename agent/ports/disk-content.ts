import type { FilePiece } from '../../shared/domain/transfer.js';

/** What is in the disks of domUs, byte for byte. */
export interface DiskContent {
  /**
   * All of it that is not zeros, in order.
   *
   * @param file what the pieces are to be called: the disk's number among those that are sent
   * @throws {AppError} `unavailable`, and the signal's reason
   */
  read(path: string, file: number, signal: AbortSignal): AsyncIterable<FilePiece>;
}
