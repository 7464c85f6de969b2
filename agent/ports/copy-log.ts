import type { StoredDisk } from '../domain/new-disk.js';

/** What was made for a VM. */
export interface CopyRecord {
  readonly cfgPath: string;
  /** Of its cfg, one character a byte. */
  readonly cfgText: string;
  readonly disks: readonly StoredDisk[];
  /** All of it is there; else it is to be undone. */
  readonly isWhole: boolean;
}

/** What VMs were made of here; outlives the process, whatever ends it. */
export interface CopyLog {
  /** @throws {AppError} `unavailable`, `wrong_state` (damaged) */
  list(): Promise<readonly CopyRecord[]>;

  /** @throws {AppError} as {@link list} */
  find(cfgPath: string): Promise<CopyRecord | undefined>;

  /** Durable on return. @throws {AppError} `unavailable` */
  put(record: CopyRecord): Promise<void>;

  /** Durable on return. @throws {AppError} `unavailable` */
  remove(cfgPath: string): Promise<void>;
}
