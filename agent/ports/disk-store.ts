/** The disk images of domUs, as files of dom0. */
export interface DiskStore {
  /**
   * Bytes that a copy of the file takes at most, holes left out; `undefined`: there is no such file.
   *
   * @throws {AppError} `invalid` if it is no plain file, `unavailable`
   */
  sizeOf(path: string): Promise<number | undefined>;

  /** Bytes that are free where a file of that path would be; its folder may be missing. @throws {AppError} `unavailable` */
  freeAt(path: string): Promise<number>;

  /**
   * Makes a copy, sharing blocks where the file system can, holes left out. Durable on return. What an end in the middle
   * left is for {@link remove}.
   *
   * @throws {AppError} `already_exists`; `unavailable` (no room, ...)
   */
  copy(from: string, to: string, signal: AbortSignal): Promise<void>;

  /** Takes a file away, and its folder if that is empty then. One that is not there is gone. @throws {AppError} `unavailable` */
  remove(path: string): Promise<void>;
}
