import type { FilePiece, TransferHead } from '../../shared/domain/transfer.js';

/** What comes from another host, or from the controller. */
export interface IncomingTransfer {
  readonly head: TransferHead;
  /**
   * To be read once, and to its end: only then is it what was sent. Leaving the loop ends the transfer for both ends. It is
   * sent as fast as it is read.
   *
   * @throws {AppError} `invalid` (a checksum differs), `unavailable`, what ended the other end
   */
  readonly pieces: AsyncIterable<FilePiece>;
  /** Ends it unread. Idempotent. */
  close(): void;
}

/** Bytes to and from other hosts, through the controller, on a connection of their own. */
export interface TransferLink {
  /**
   * Resolves when the other end has all of it. Only as fast as that one reads.
   *
   * @throws {AppError} `not_found` (no such transfer of this host), `unavailable`, `timeout`, what ended the other end
   */
  send(transferId: string, head: TransferHead, pieces: AsyncIterable<FilePiece>, signal: AbortSignal): Promise<void>;

  /** Resolves when the head is there. @throws {AppError} as {@link send} */
  receive(transferId: string, signal: AbortSignal): Promise<IncomingTransfer>;
}
