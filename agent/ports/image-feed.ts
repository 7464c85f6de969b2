import type { Sha256 } from '../../shared/domain/sha256.js';

/** Where the bytes of images come from. */
export interface ImageFeed {
  /**
   * As they were given to the controller, no faster than they are read. Leaving the loop ends it.
   *
   * @throws {AppError} `not_found`, `forbidden` (no order of this host is about it), `unavailable`
   */
  read(sha256: Sha256, signal: AbortSignal): AsyncIterable<Uint8Array>;
}
