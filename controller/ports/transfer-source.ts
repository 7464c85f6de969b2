import type { TransferChunk } from '../../shared/domain/transfer.js';

/** Files of the controller's own machine that hosts are given. */
export interface TransferSource {
  /**
   * The file as a transfer of that id: its head names it by its base name. Read as fast as it is taken.
   *
   * @throws {AppError} `not_found`, `unavailable`
   */
  chunksOf(path: string, transferId: string, signal: AbortSignal): AsyncIterable<TransferChunk>;
}
