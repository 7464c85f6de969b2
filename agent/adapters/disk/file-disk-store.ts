import { constants } from 'node:fs';
import {
  copyFile,
  mkdir,
  mkdtemp,
  realpath,
  rm,
  rmdir,
  stat,
  statfs,
  truncate,
  unlink,
  writeFile,
} from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { RESERVE_BYTES } from '../../../shared/domain/disk-room.js';
import { AppError, invalid } from '../../../shared/errors.js';
import type { Exec } from '../../../shared/exec.js';
import type { DiskFormat, DiskSize, DiskSource, NewDisk, StoredDisk } from '../../domain/new-disk.js';
import { parseQcow2Header, QCOW2_HEAD_BYTES, type Qcow2Header } from '../../domain/qcow2-header.js';
import type { DiskKind } from '../../domain/storage-choice.js';
import type { Room } from '../../ports/disk-store.js';
import type { RawViews } from '../../ports/raw-views.js';
import { errnoOf, fileError, syncFolder, unlessMissing, withFile } from './atomic-file.js';
import { deviceBytes } from './block-device.js';
import { runProgram } from './disk-program.js';
import { writePieces } from './write-pieces.js';

/** The longest that an order may take. */
const COPY_MS = 3_600_000;
/** Writes two pages, or a header. */
const HEAD_MS = 60_000;
/** st_blocks(3type) counts in these, whatever the file system's blocks are. */
const BLOCK_BYTES = 512;

/** Nobody makes as many on purpose. */
const MAX_CHAIN = 64;

type ReceivedSource = Extract<DiskSource, { kind: 'received' }>;

/** Disks that are files, copied by cp(1): it knows reflinks and holes. */
export class FileDiskStore {
  readonly #exec: Exec;
  readonly #views: RawViews | undefined;

  /** @param views by which qcow2 images are filled from other hosts; left out: they are not */
  constructor(exec: Exec, views?: RawViews) {
    this.#exec = exec;
    this.#views = views;
  }

  /** As `DiskStore.find`. */
  async find(path: string, format: DiskFormat = 'raw'): Promise<DiskSize | undefined> {
    const found = await guard(path, () => unlessMissing(stat(path)));
    if (found === undefined) return undefined;
    if (!found.isFile()) throw invalid(`The disk ${path} is no plain file`, { disk: path });
    const usedBytes = found.blocks * BLOCK_BYTES;
    if (format !== 'qcow2') return { sizeBytes: found.size, usedBytes };
    const header = await readHeader(path);
    const { sizeBytes, backingFile } = header;
    if (backingFile === undefined) return { sizeBytes, usedBytes };
    // As it is read: by its own name, whatever links lead there.
    const below = await contentBelow(await guard(path, () => realpath(path)), header);
    return { sizeBytes, usedBytes, origin: pathOf(backingFile, path), contentBytes: usedBytes + below };
  }

  /** @returns `undefined`: there is no such file. @throws {AppError} as {@link find} */
  async kindOf(path: string, format: DiskFormat): Promise<DiskKind | undefined> {
    const found = await guard(path, () => unlessMissing(stat(path)));
    if (found === undefined) return undefined;
    if (!found.isFile()) return { kind: 'device' };
    const backingFile = format === 'qcow2' ? (await readHeader(path)).backingFile : undefined;
    return { kind: 'file', canReflink: await guard(path, () => canReflink(path)), backingFile };
  }

  /** As `DiskStore.roomFor`. */
  async roomFor({ path }: StoredDisk): Promise<Room> {
    const folder = await guard(path, () => folderOf(path));
    return guard(folder, async () => {
      const [{ dev }, { bavail, bsize }] = await Promise.all([stat(folder), statfs(folder)]);
      return { store: `file system ${dev}`, freeBytes: Math.max(0, bavail * bsize - RESERVE_BYTES) };
    });
  }

  /** As `DiskStore.make`. */
  async make(disk: NewDisk, signal: AbortSignal): Promise<void> {
    const { path } = disk.place;
    await guard(path, async () => {
      await mkdir(dirname(path), { recursive: true });
      // So that nobody else's file is written over, and only root reads a guest's disk.
      await withFile(path, 'wx', (file) => file.chmod(0o600));
    });
    await this.#fill(disk, signal);
    await this.#grow(disk, signal);
    await guard(path, async () => {
      await withFile(path, 'r+', (file) => file.sync());
      await syncFolder(dirname(path));
    });
  }

  /** As `DiskStore.remove`. */
  async remove({ path }: StoredDisk): Promise<boolean> {
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
    return true;
  }

  async #fill({ source, place: { path, storage } }: NewDisk, signal: AbortSignal): Promise<void> {
    switch (source.kind) {
      case 'copy':
        if (storage === 'qcow2') return this.#overlay(source.path, source.format, path, signal);
        return this.#copy(source.path, path, storage === 'reflink' ? 'always' : 'never', signal);
      case 'image': {
        const format = storage === 'qcow2' ? 'qcow2' : 'raw';
        if (source.format === 'raw' && format === 'raw') return this.#copy(source.path, path, 'auto', signal);
        const formats = ['-f', source.format, '-O', format] as const;
        return this.#run(['qemu-img', 'convert', ...formats, source.path, path], COPY_MS, signal);
      }
      case 'received':
        if (storage === 'qcow2') return this.#receiveQcow2(source, path, signal);
        await guard(path, () => truncate(path, source.sizeBytes));
        return guard(path, () => writePieces(path, source.pieces, signal));
      case 'blank':
        return guard(path, () => truncate(path, source.bytes));
      case 'swap':
        await guard(path, () => truncate(path, source.bytes));
        return this.#run(['mkswap', path], HEAD_MS, signal);
    }
  }

  /** QEMU writes it, since blocks of it come as its guest sees them. */
  async #receiveQcow2(source: ReceivedSource, path: string, signal: AbortSignal): Promise<void> {
    if (this.#views === undefined) throw invalid(`${path} cannot be a qcow2 image here`, { disk: path });
    const create = ['qemu-img', 'create', '-q', '-f', 'qcow2', path, `${source.sizeBytes}`] as const;
    await this.#run(create, HEAD_MS, signal, path);
    const image = { path: await guard(path, () => realpath(path)), format: 'qcow2' } as const;
    const write = (raw: string): Promise<void> => guard(path, () => writePieces(raw, source.pieces, signal));
    await this.#views.withRaw(image, 'write', signal, write, { limitMs: COPY_MS });
  }

  async #grow({ source, place: { path, storage }, sizeBytes }: NewDisk, signal: AbortSignal): Promise<void> {
    if (sizeBytes === undefined) return;
    const isQcow2 = storage === 'qcow2' || (source.kind === 'copy' && source.format === 'qcow2');
    const found = await this.find(path, isQcow2 ? 'qcow2' : 'raw');
    if (found === undefined || found.sizeBytes >= sizeBytes) return;
    if (!isQcow2) return guard(path, () => truncate(path, sizeBytes));
    // Its size goes last in the command, its name in the error.
    await this.#run(['qemu-img', 'resize', '-q', '-f', 'qcow2', path, `${sizeBytes}`], HEAD_MS, signal, path);
  }

  #copy(from: string, to: string, reflink: 'always' | 'auto' | 'never', signal: AbortSignal): Promise<void> {
    // A sparse reflink is a contradiction to cp; it has the holes of its source.
    const sparse = reflink === 'always' ? [] : ['--sparse=always'];
    const command = ['cp', `--reflink=${reflink}`, ...sparse, '--no-preserve=all', '--', from, to] as const;
    return this.#run(command, COPY_MS, signal);
  }

  #overlay(backing: string, format: DiskFormat, path: string, signal: AbortSignal): Promise<void> {
    const command = ['qemu-img', 'create', '-q', '-f', 'qcow2', '-F', format, '-b', backing, path] as const;
    return this.#run(command, HEAD_MS, signal);
  }

  async #run(
    command: readonly [string, ...string[]],
    timeoutMs: number,
    signal: AbortSignal,
    disk?: string,
  ): Promise<void> {
    await runProgram(this.#exec, command, { timeoutMs, signal, disk });
  }
}

async function readHeader(path: string): Promise<Qcow2Header> {
  const head = await guard(path, () =>
    withFile(
      path,
      'r',
      async (file) => (await file.read(Buffer.alloc(QCOW2_HEAD_BYTES), 0, QCOW2_HEAD_BYTES, 0)).buffer,
    ),
  );
  return parseQcow2Header(head, path);
}

/** What the images below an overlay take, at most what shows through it; of one that is not there nothing. */
async function contentBelow(path: string, { backingFile, backingFormat }: Qcow2Header): Promise<number> {
  let bytes = 0;
  let [image, file, format] = [path, backingFile, backingFormat];
  for (let n = 0; file !== undefined && n < MAX_CHAIN; n += 1) {
    image = pathOf(file, image);
    const found = await guard(image, () => unlessMissing(stat(image)));
    if (found === undefined) return bytes;
    bytes += found.isFile() ? found.blocks * BLOCK_BYTES : ((await deviceBytes(image)) ?? 0);
    if (format !== 'qcow2') return bytes;
    ({ backingFile: file, backingFormat: format } = await readHeader(image));
  }
  return bytes;
}

/** As QEMU reads it: from the folder of the image on, unless it names a protocol. */
function pathOf(backingFile: string, image: string): string {
  return /^[a-z][\w+.-]*:/.test(backingFile) ? backingFile : resolve(dirname(image), backingFile);
}

/** The nearest folder on the way to a path that is there. */
async function folderOf(path: string): Promise<string> {
  const folder = dirname(path);
  return (await unlessMissing(stat(folder))) === undefined ? folderOf(folder) : folder;
}

/** Tried, since not every xfs can. */
export async function canReflink(path: string): Promise<boolean> {
  const probe = await mkdtemp(join(dirname(path), '.domherd-'));
  try {
    await writeFile(join(probe, 'a'), Buffer.alloc(4096, 1));
    await copyFile(join(probe, 'a'), join(probe, 'b'), constants.COPYFILE_FICLONE_FORCE);
    return true;
  } catch (error) {
    if (['ENOTSUP', 'EOPNOTSUPP', 'ENOTTY', 'EXDEV', 'EINVAL', 'ENOSYS'].includes(errnoOf(error) ?? '')) return false;
    throw error;
  } finally {
    await rm(probe, { recursive: true, force: true });
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
