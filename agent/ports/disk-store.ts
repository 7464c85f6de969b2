import type { DiskSize, NewDisk, StoredDisk } from '../domain/new-disk.js';

/** Where there is room for disks. */
export interface Room {
  /** Equal for two places that share it. */
  readonly store: string;
  readonly freeBytes: number;
}

/** The disks of domUs, as dom0 has them. */
export interface DiskStore {
  /**
   * @returns `undefined`: there is no such file
   * @throws {AppError} `invalid` if it can be no disk, `unavailable`
   */
  find(path: string): Promise<DiskSize | undefined>;

  /** What is free where such a disk would be; folders on its way may be missing. @throws {AppError} `unavailable` */
  roomFor(place: StoredDisk): Promise<Room>;

  /**
   * Makes a disk, holes left out. Durable on return. What an end in the middle left is for {@link remove}.
   *
   * @throws {AppError} `already_exists`; `invalid` if the source can be none; `unavailable` (no room, a program is missing, ...)
   */
  make(disk: NewDisk, signal: AbortSignal): Promise<void>;

  /** Takes a disk away, and the folder of a file if that is empty then. One that is not there is gone. @throws {AppError} `unavailable` */
  remove(place: StoredDisk): Promise<void>;
}
