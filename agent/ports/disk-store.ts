import type { Storage } from '../../shared/domain/vm-shape.js';
import type { DiskFormat, DiskSize, NewDisk, StoredDisk } from '../domain/new-disk.js';
import type { StorageFacts } from '../domain/storage-choice.js';

/** Where there is room for disks. */
export interface Room {
  /** Equal for two places that share it. */
  readonly store: string;
  /** For disks: less what is to stay free. */
  readonly freeBytes: number;
}

export interface DiskQuestion {
  /** That are to be copied. */
  readonly disks: readonly { readonly path: string; readonly format: DiskFormat }[];
  /** What is not asked for is not looked for. */
  readonly wanted: Storage | undefined;
}

/** The disks of domUs, as dom0 has them. */
export interface DiskStore {
  /**
   * @param format `raw` unless told
   * @returns `undefined`: there is no such file, volume or other block device
   * @throws {AppError} `invalid` if it can be no disk of that format, `unavailable`
   */
  find(path: string, format?: DiskFormat): Promise<DiskSize | undefined>;

  /** How disks could be kept here. @throws {AppError} as {@link find} */
  survey(question: DiskQuestion): Promise<StorageFacts>;

  /** What is free where such a disk would be; folders on its way may be missing. @throws {AppError} `unavailable` */
  roomFor(place: StoredDisk): Promise<Room>;

  /**
   * Makes a disk, holes left out. Durable on return. What an end in the middle left is for {@link remove}.
   *
   * @throws {AppError} `already_exists`; `invalid` if the source can be none; `unavailable` (no room, a program is missing, ...)
   */
  make(disk: NewDisk, signal: AbortSignal): Promise<void>;

  /**
   * Takes a disk away, and the folder of a file if that is empty then. One that is not there is gone.
   *
   * @returns whether it is gone: a volume that was not made here stays, as other block devices do
   * @throws {AppError} `unavailable`
   */
  remove(place: StoredDisk): Promise<boolean>;
}
