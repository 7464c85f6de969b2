import type { SeedFiles } from '../domain/seed/seed-files.js';

/** Seed disks for cloud-init. */
export interface SeedMaker {
  /**
   * A seed as a file, for as long as it takes to make a disk of it.
   *
   * @throws {AppError} `unavailable` (a program is missing, no room)
   */
  draft(files: SeedFiles, signal: AbortSignal): Promise<SeedDraft>;
}

export interface SeedDraft {
  readonly path: string;
  /** Idempotent, never throws. */
  remove(): Promise<void>;
}
