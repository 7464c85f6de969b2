import type { InstallerSource } from '../../shared/domain/installer.js';
import type { Boot } from '../domain/image/boot-choice.js';
import type { VifSettings } from '../domain/order.js';

export interface InstallSettings {
  readonly source: InstallerSource;
  readonly hostname: string;
  /** Of the file system. */
  readonly sizeBytes: number;
  /** Whether it gets swap space besides; the maker of the VM makes that, before the root: `xvda1`. */
  readonly hasSwap: boolean;
  /** A guest that boots what is in it gets a kernel; others the modules of the host's, where they are there. */
  readonly boot: Boot;
  /** What its first vif is leased, and the bridge of that: for those who write it. */
  readonly vif: VifSettings | undefined;
}

/** One ext4 file system, as a raw file of this host with holes. */
export interface InstalledImage {
  readonly path: string;
  /** Which disk of the guest it is to be, as its fstab says: `xvda2`. */
  readonly vdev: string;
  /** It is read no more. Idempotent, never throws. */
  remove(): Promise<void>;
}

/** Installs distributions by programs of this host. */
export interface Installer {
  /**
   * @param tell what it is at
   * @throws {AppError} `not_found` (the tarball), `invalid` (more than the size holds), `exhausted` (no room to work),
   *   `wrong_state` (no source of packages), `timeout` (60 min), `unavailable` (a program is missing, or failed)
   */
  install(settings: InstallSettings, tell: (what: string) => void, signal: AbortSignal): Promise<InstalledImage>;

  /** Removes what a death left: before the first {@link install}. Never throws. */
  clear(): Promise<void>;
}
