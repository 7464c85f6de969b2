import type { SeedFiles } from '../domain/seed/seed-files.js';

/** Seed disks for cloud-init. */
export interface SeedMaker extends SeedReader {
  /**
   * A seed as a file, for as long as it takes to make a disk of it.
   *
   * @throws {AppError} `unavailable` (a program is missing, no room)
   */
  draft(files: SeedFiles, signal: AbortSignal): Promise<SeedDraft>;
}

export interface SeedReader {
  /**
   * @param path of a disk image
   * @returns `undefined` if it is no seed, or not there
   * @throws {AppError} `unavailable` (a program is missing)
   */
  read(path: string, signal: AbortSignal): Promise<SeedFiles | undefined>;
}

export interface SeedDraft {
  readonly path: string;
  /** Idempotent, never throws. */
  remove(): Promise<void>;
}
