/** Small records that outlive the process, whatever ends it. */
export interface RecordStore {
  /** The keys, sorted. @throws {AppError} `unavailable` */
  list(): Promise<readonly string[]>;

  /** @throws {AppError} `unavailable` */
  read(key: string): Promise<Uint8Array | undefined>;

  /**
   * Replaces the record, if there is one; durable on return.
   *
   * @param key 1 to 200 of a-z, 0-9, `.`, `-`, `_`, beginning with a letter or digit
   * @throws {AppError} `invalid` for another key, `unavailable` (disk full, ...): then the record is as before
   */
  write(key: string, bytes: Uint8Array): Promise<void>;

  /** Durable on return. One that is not there is gone. @throws {AppError} `unavailable` */
  remove(key: string): Promise<void>;
}
