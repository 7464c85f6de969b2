import type { Sha256 } from '../../shared/domain/sha256.js';

/** An image that is kept, under the hash of its bytes as they were given. */
export interface StoredImage {
  readonly sha256: Sha256;
  readonly sizeBytes: number;
  /** The name of its file, or its URL. */
  readonly name: string;
  /** What its server said of it when it was fetched. */
  readonly origin?: ImageOrigin | undefined;
}

/** By which a server tells whether something changed. */
export interface ImageOrigin {
  readonly url: string;
  readonly etag: string | undefined;
  readonly lastModified: string | undefined;
}

/** An image on its way in. */
export interface ImageDraft {
  /** Bytes that are there from an earlier try. */
  readonly offset: number;

  /** @throws {AppError} `exhausted` (no room), `invalid` (more than was announced), `unavailable` */
  write(bytes: Uint8Array): Promise<void>;

  /**
   * Checks what came, and keeps it: durable on return.
   *
   * @param wanted the hash that it must have, where none was announced
   * @throws {AppError} `invalid` if it is not what was announced: then nothing of it is left; `unavailable`
   */
  finish(name: string, origin?: ImageOrigin, wanted?: Sha256): Promise<StoredImage>;

  /** Ends a draft that is not finished. What came of an announced one stays, and the next one goes on there. Idempotent. */
  close(): Promise<void>;
}

export interface AnnouncedImage {
  readonly sha256: Sha256;
  readonly sizeBytes: number;
}

/** Where the controller keeps images. */
export interface ImageStore {
  /** By name. @throws {AppError} `unavailable` */
  list(): Promise<readonly StoredImage[]>;

  /** @throws {AppError} `unavailable` */
  find(sha256: Sha256): Promise<StoredImage | undefined>;

  /**
   * @param announced `undefined`: its hash is not known beforehand
   * @throws {AppError} `wrong_state` if such a draft is open, `exhausted` (no room), `unavailable`
   */
  begin(announced: AnnouncedImage | undefined): Promise<ImageDraft>;

  /** Its bytes, in pieces of up to 256 KiB. @throws {AppError} `not_found`, `unavailable` */
  read(sha256: Sha256): AsyncIterable<Uint8Array>;

  /** Durable on return; one that is not there is gone. @throws {AppError} `unavailable` */
  remove(sha256: Sha256): Promise<void>;
}
