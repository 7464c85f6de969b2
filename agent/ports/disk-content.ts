import type { FilePiece } from '../../shared/domain/transfer.js';
import type { DiskImage } from '../domain/new-disk.js';

/** What is in the disks of domUs, byte for byte. */
export interface DiskContent {
  /**
   * All of it that is not zeros, in order, as its guest sees it: of an overlay with what is below it. Zeros come only now and
   * then, where they are long.
   *
   * @param file what the pieces are to be called: the disk's number among those that are sent
   * @throws {AppError} `invalid` (no image of that format), `unavailable`, and the signal's reason
   */
  read(disk: DiskImage, file: number, signal: AbortSignal): AsyncIterable<FilePiece>;
}
