import type { AutostartEntry, BootFile, Refusal, Rewrite } from '../domain/boot-plan.js';

export interface BootFiles {
  /** Each file once, however many links lead to it, by path. */
  readonly files: readonly BootFile[];
  readonly autostart: readonly AutostartEntry[];
  readonly savedStates: readonly string[];
}

/** The files that Xen starts domUs from, as the boot step needs them: all at once, before any domU runs. */
export interface BootFolder {
  /** A folder that does not exist is empty. @throws {AppError} `unavailable` if one cannot be read */
  gather(): BootFiles;

  /**
   * Replaces many files. Whenever it ends, also by a power cut, each file has all of its old bytes or all of its new ones;
   * after the return, the new ones are durable. The bytes before are kept as a backup; mode and owner stay.
   *
   * @param rewrites of files that {@link gather} gave
   * @returns the files that could not be written, which are as they were: changed meanwhile, disk full, read-only, ...
   * @throws {AppError} `timeout` after `deadlineMs`, with each file old or new
   */
  replaceAll(rewrites: readonly Rewrite[], deadlineMs: number): Promise<readonly Refusal[]>;
}
