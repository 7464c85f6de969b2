import { mkdir, rmdir, stat, statfs, truncate, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { AppError, invalid } from '../../../shared/errors.js';
import { outputOf, type Exec } from '../../../shared/exec.js';
import type { DiskSize, DiskSource, NewDisk, StoredDisk } from '../../domain/new-disk.js';
import type { DiskStore, Room } from '../../ports/disk-store.js';
import { errnoOf, fileError, syncFolder, unlessMissing, withFile } from './atomic-file.js';

/** The longest that an order may take. */
const COPY_MS = 3_600_000;
/** Writes two pages. */
const MKSWAP_MS = 60_000;
/** st_blocks(3type) counts in these, whatever the file system's blocks are. */
const BLOCK_BYTES = 512;

/** Disks that are files, copied by cp(1): it knows reflinks and holes. */
export class FileDiskStore implements DiskStore {
  readonly #exec: Exec;

  constructor(exec: Exec) {
    this.#exec = exec;
  }

  async find(path: string): Promise<DiskSize | undefined> {
    const found = await guard(path, () => unlessMissing(stat(path)));
    if (found === undefined) return undefined;
    if (!found.isFile()) throw invalid(`The disk ${path} is no plain file`, { disk: path });
    return { sizeBytes: found.size, usedBytes: found.blocks * BLOCK_BYTES };
  }

  async roomFor({ path }: StoredDisk): Promise<Room> {
    for (let folder = dirname(path); ; folder = dirname(folder)) {
      const found = await guard(folder, () => unlessMissing(Promise.all([stat(folder), statfs(folder)])));
      if (found === undefined) continue;
      const [{ dev }, { bavail, bsize }] = found;
      return { store: `file system ${dev}`, freeBytes: bavail * bsize };
    }
  }

  async make({ source, place, sizeBytes }: NewDisk, signal: AbortSignal): Promise<void> {
    const { path } = place;
    await guard(path, async () => {
      await mkdir(dirname(path), { recursive: true });
      // So that nobody else's file is written over, and only root reads a guest's disk.
      await withFile(path, 'wx', (file) => file.chmod(0o600));
    });
    await this.#fill(path, source, signal);
    await guard(path, async () => {
      if (sizeBytes !== undefined && (await stat(path)).size < sizeBytes) await truncate(path, sizeBytes);
      await withFile(path, 'r+', (file) => file.sync());
      await syncFolder(dirname(path));
    });
  }

  async remove({ path }: StoredDisk): Promise<void> {
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

  async #fill(path: string, source: DiskSource, signal: AbortSignal): Promise<void> {
    switch (source.kind) {
      case 'copy':
        return this.#copy(source.path, path, signal);
      case 'image':
        if (source.format === 'raw') return this.#copy(source.path, path, signal);
        return this.#run(['qemu-img', 'convert', '-f', 'qcow2', '-O', 'raw', source.path, path], COPY_MS, signal);
      case 'blank':
        return guard(path, () => truncate(path, source.bytes));
      case 'swap':
        await guard(path, () => truncate(path, source.bytes));
        return this.#run(['mkswap', path], MKSWAP_MS, signal);
    }
  }

  #copy(from: string, to: string, signal: AbortSignal): Promise<void> {
    const command = ['cp', '--reflink=auto', '--sparse=always', '--no-preserve=all', '--', from, to] as const;
    return this.#run(command, COPY_MS, signal);
  }

  async #run(command: readonly [string, ...string[]], timeoutMs: number, signal: AbortSignal): Promise<void> {
    const result = await this.#exec.run(command, { timeoutMs, signal });
    signal.throwIfAborted();
    if (result.kind === 'ok') return;
    const [program] = command;
    throw new AppError('unavailable', `The disk ${command.at(-1) ?? ''} could not be made: ${program} failed`, {
      output: outputOf(result),
      ...(result.kind === 'missing' && { hint: `apt-get install ${PACKAGES[program] ?? program}, on the host` }),
    });
  }
}

const PACKAGES: Readonly<Record<string, string>> = { 'qemu-img': 'qemu-utils', mkswap: 'util-linux' };

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
