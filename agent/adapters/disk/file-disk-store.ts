import { mkdir, rmdir, stat, statfs, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { AppError, invalid } from '../../../shared/errors.js';
import { outputOf, type Exec } from '../../../shared/exec.js';
import type { DiskStore } from '../../ports/disk-store.js';
import { errnoOf, fileError, syncFolder, unlessMissing, withFile } from './atomic-file.js';

/** The longest that an order may take. */
const COPY_MS = 3_600_000;
/** st_blocks(3type) counts in these, whatever the file system's blocks are. */
const BLOCK_BYTES = 512;

/** Images that are files, copied by cp(1): it knows reflinks and holes. */
export class FileDiskStore implements DiskStore {
  readonly #exec: Exec;

  constructor(exec: Exec) {
    this.#exec = exec;
  }

  async sizeOf(path: string): Promise<number | undefined> {
    const found = await guard(path, () => unlessMissing(stat(path)));
    if (found === undefined) return undefined;
    if (!found.isFile()) throw invalid(`The disk ${path} is no plain file`, { disk: path });
    return found.blocks * BLOCK_BYTES;
  }

  async freeAt(path: string): Promise<number> {
    for (let folder = dirname(path); ; folder = dirname(folder)) {
      const found = await guard(folder, () => unlessMissing(statfs(folder)));
      if (found !== undefined) return found.bavail * found.bsize;
    }
  }

  async copy(from: string, to: string, signal: AbortSignal): Promise<void> {
    await guard(to, async () => {
      await mkdir(dirname(to), { recursive: true });
      // So that nobody else's file is written over, and only root reads a guest's disk.
      await withFile(to, 'wx', (file) => file.chmod(0o600));
    });
    const command = ['cp', '--reflink=auto', '--sparse=always', '--no-preserve=all', '--', from, to] as const;
    const result = await this.#exec.run(command, { timeoutMs: COPY_MS, signal });
    signal.throwIfAborted();
    if (result.kind !== 'ok') {
      throw new AppError('unavailable', `${from} could not be copied to ${to}`, { output: outputOf(result) });
    }
    await guard(to, async () => {
      await withFile(to, 'r+', (file) => file.sync());
      await syncFolder(dirname(to));
    });
  }

  async remove(path: string): Promise<void> {
    await guard(path, async () => {
      const isGone = (await unlessMissing(unlink(path).then(() => true))) === undefined;
      const folder = dirname(path);
      const isEmpty = await rmdir(folder).then(
        () => true,
        (error: unknown) => {
          if (['ENOTEMPTY', 'ENOENT', 'EEXIST', 'EBUSY'].includes(errnoOf(error) ?? '')) return false;
          throw error;
        },
      );
      if (!isGone) await syncFolder(isEmpty ? dirname(folder) : folder);
    });
  }
}

async function guard<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof AppError) throw error;
    if (errnoOf(error) === 'EEXIST') {
      throw new AppError('already_exists', `There is a file ${path} already`, { disk: path });
    }
    throw fileError(path, error);
  }
}
