// Invariants:
// - Backups and new files are whole and synced before the first rename: no crash leaves half a file under its name.
// - A file that cannot be written costs no other file its rewrite.
import { randomBytes } from 'node:crypto';
import { dirname, join } from 'node:path';
import { AppError, messageOf } from '../../../shared/errors.js';
import type { Exec } from '../../../shared/exec.js';
import type { Refusal } from '../../domain/boot-plan.js';
import type { Clock } from '../../ports/clock.js';
import { fileError } from './atomic-file.js';
import { LEFTOVER, removeQuietly, syncPath, temporaryOf, unlessGone, writeNew, type BootFs } from './boot-fs.js';

export interface ReplaceJob {
  /** As the user knows it. */
  readonly path: string;
  /** No link. */
  readonly real: string;
  /** latin1, as `after`. */
  readonly before: string;
  readonly after: string;
  readonly backupName: string;
}

export interface ReplaceMeans {
  readonly fs: BootFs;
  readonly exec: Exec;
  readonly clock: Clock;
  /** Made if it is missing, readable by its owner only. */
  readonly backupDir: string;
  /** In which an earlier run may have left temporary files. */
  readonly folders: readonly string[];
  readonly deadlineMs: number;
}

interface Staged {
  readonly job: ReplaceJob;
  readonly temporary: string;
  readonly backup: string;
  /** `undefined`: the backup is there already. */
  readonly temporaryBackup: string | undefined;
}

/** Of each file, the newest. */
const MAX_BACKUPS = 10;
/** More are synced by one sync(1) of their file systems: some disks take 10 ms for each fsync. */
const MAX_FSYNCS = 32;
/** A file system that has much else to write. */
const SYNC_MS = 20_000;

/** @returns the files that could not be written. @throws {AppError} `timeout`, `unavailable` */
export function replaceFiles(jobs: readonly ReplaceJob[], means: ReplaceMeans): Promise<readonly Refusal[]> {
  return new BulkReplace(means).run(jobs);
}

class BulkReplace {
  readonly #means: ReplaceMeans;
  readonly #fs: BootFs;
  readonly #failures: Refusal[] = [];
  /** Temporary files that are there. */
  readonly #temporaries = new Set<string>();
  readonly #run = randomBytes(4).toString('hex');

  constructor(means: ReplaceMeans) {
    this.#means = means;
    this.#fs = means.fs;
  }

  async run(jobs: readonly ReplaceJob[]): Promise<readonly Refusal[]> {
    const { folders, backupDir } = this.#means;
    try {
      for (const folder of new Set([...folders, backupDir])) this.#removeLeftovers(folder);
      if (jobs.length === 0) return [];
      this.#fs.mkdirSync(backupDir, { recursive: true, mode: 0o700 });
      const staged = jobs.flatMap((job) => this.#attempt(job, () => this.#stage(job)));
      await this.#sync(staged);
      const replaced = this.#commit(staged);
      this.#prune(replaced);
      return this.#failures;
    } catch (error) {
      throw error instanceof AppError ? error : fileError('The cfg files cannot be replaced', error);
    } finally {
      for (const path of this.#temporaries) removeQuietly(this.#fs, path);
    }
  }

  #attempt<T>(job: ReplaceJob, work: () => T): readonly T[] {
    if (this.#means.clock.nowMs() > this.#means.deadlineMs) {
      throw new AppError('timeout', 'The cfg files could not be replaced in time', {
        hint: 'each is old or new: repeat',
      });
    }
    try {
      return [work()];
    } catch (error) {
      this.#failures.push({ file: job.path, reason: `it cannot be written: ${messageOf(error)}` });
      return [];
    }
  }

  #stage(job: ReplaceJob): Staged {
    const backup = join(this.#means.backupDir, `${job.backupName}.${this.#means.clock.nowMs()}`);
    const temporary = temporaryOf(job.real, this.#run);
    const temporaryBackup = this.#backUp(job, backup);
    const { mode, uid, gid } = this.#fs.statSync(job.real);
    this.#write(temporary, job.after, { mode, uid, gid });
    return { job, temporary, backup, temporaryBackup };
  }

  /** @returns what is to be renamed to the backup; `undefined` if that is there already */
  #backUp({ real, before }: ReplaceJob, backup: string): string | undefined {
    try {
      // The old file itself, once the new one has its name: half the work of a copy, and nothing to sync.
      this.#fs.linkSync(real, backup);
      return undefined;
    } catch {
      // Another file system, or one without hard links.
    }
    const temporary = temporaryOf(backup, this.#run);
    this.#write(temporary, before, { mode: 0o600, uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 });
    return temporary;
  }

  #write(path: string, text: string, owner: Parameters<typeof writeNew>[3]): void {
    writeNew(this.#fs, path, Buffer.from(text, 'latin1'), owner);
    this.#temporaries.add(path);
  }

  async #sync(staged: readonly Staged[]): Promise<void> {
    if (staged.length > MAX_FSYNCS) {
      const folders = new Set(staged.map(({ temporary }) => dirname(temporary)));
      const argv = ['sync', '--file-system', this.#means.backupDir, ...folders] as const;
      const { kind } = await this.#means.exec.run(argv, { timeoutMs: SYNC_MS });
      if (kind === 'ok') return;
    }
    for (const { temporary, temporaryBackup } of staged) {
      if (temporaryBackup !== undefined) syncPath(this.#fs, temporaryBackup);
      syncPath(this.#fs, temporary);
    }
  }

  #commit(staged: readonly Staged[]): readonly Staged[] {
    for (const { temporaryBackup, backup } of staged) {
      if (temporaryBackup !== undefined) this.#rename(temporaryBackup, backup);
    }
    if (staged.length > 0) syncPath(this.#fs, this.#means.backupDir);
    const replaced = staged.flatMap((one) => this.#attempt(one.job, () => this.#replace(one)));
    for (const folder of new Set(replaced.map(({ job }) => dirname(job.real)))) syncPath(this.#fs, folder);
    return replaced;
  }

  #replace(staged: Staged): Staged {
    const { real, before } = staged.job;
    if (this.#fs.readFileSync(real, 'latin1') !== before) throw new Error('somebody else changed it meanwhile');
    this.#rename(staged.temporary, real);
    return staged;
  }

  #rename(from: string, to: string): void {
    this.#fs.renameSync(from, to);
    this.#temporaries.delete(from);
  }

  #removeLeftovers(folder: string): void {
    const names = unlessGone(() => this.#fs.readdirSync(folder)) ?? [];
    for (const name of names) if (LEFTOVER.test(name)) this.#fs.unlinkSync(join(folder, name));
  }

  #prune(replaced: readonly Staged[]): void {
    const { backupDir } = this.#means;
    const ofFile = new Map<string, string[]>(replaced.map(({ job }) => [job.backupName, []]));
    // Milliseconds have 13 digits until the year 2286: sorting the names sorts the times.
    for (const name of this.#fs.readdirSync(backupDir).sort()) {
      ofFile.get(name.replace(/\.\d+$/, ''))?.push(name);
    }
    for (const names of ofFile.values()) {
      for (const name of names.slice(0, -MAX_BACKUPS)) removeQuietly(this.#fs, join(backupDir, name));
    }
  }
}
