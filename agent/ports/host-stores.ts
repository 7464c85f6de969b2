import type { HostStore } from '../../shared/domain/host-store.js';
import type { DiskFormat } from '../domain/new-disk.js';

/** A disk of a VM, as its cfg has it. */
export interface DiskOfVm {
  readonly vmKey: string;
  readonly path: string;
  readonly format: DiskFormat;
}

/** What disks of domUs are kept in on this host. */
export interface HostStores {
  /**
   * The root file system, /tmp, those that hold the disks, each volume group and thin pool. Forks only where LVM is to be
   * asked: the first time, and when `isFresh`; else its volumes are as they were.
   *
   * @throws {AppError} `unavailable` if they cannot be read
   */
  readStores(disks: readonly DiskOfVm[], isFresh: boolean): Promise<readonly HostStore[]>;
}
