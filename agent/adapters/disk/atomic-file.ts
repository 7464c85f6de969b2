import { randomBytes } from 'node:crypto';
import { open, rename, unlink, type FileHandle } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { AppError, messageOf } from '../../../shared/errors.js';

export interface FileOwnership {
  /** Permission bits, whatever the umask. */
  readonly mode: number;
  /** Left out: the owner of the process. */
  readonly uid?: number;
  readonly gid?: number;
}

/**
 * Replaces a file: at any time, also after a power cut, it has all of the old bytes or all of the new ones, and after the
 * return only the new ones.
 *
 * @throws {AppError} `unavailable`, with the old file as it was
 */
export async function writeFileAtomically(path: string, bytes: Buffer, ownership: FileOwnership): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.${randomBytes(4).toString('hex')}.tmp`);
  try {
    await writeWhole(temporary, bytes, ownership);
    await rename(temporary, path);
    await syncFolder(dirname(path));
  } catch (error) {
    await unlink(temporary).catch(() => undefined);
    throw fileError(`${path} cannot be written`, error);
  }
}

/** Makes renames in a folder durable. */
export async function syncFolder(path: string): Promise<void> {
  await withFile(path, 'r', (folder) => folder.sync());
}

export async function withFile<T>(path: string, flags: string, use: (file: FileHandle) => Promise<T>): Promise<T> {
  const file = await open(path, flags, 0o600);
  try {
    return await use(file);
  } finally {
    await file.close();
  }
}

/** `unavailable`, with errno and text of the system. */
export function fileError(message: string, error: unknown): AppError {
  return new AppError('unavailable', `${message}: ${messageOf(error)}`, { errno: errnoOf(error) ?? '' }, error);
}

/** Such as `ENOENT`; `undefined` if the error is not of the system. */
export function errnoOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}

/** What `read` gives, or `undefined` if there is no such file. */
export async function unlessMissing<T>(read: Promise<T>): Promise<T | undefined> {
  try {
    return await read;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

async function writeWhole(path: string, bytes: Buffer, { mode, uid, gid }: FileOwnership): Promise<void> {
  await withFile(path, 'wx', async (file) => {
    await file.writeFile(bytes);
    // Owner first: chown(2) may clear mode bits.
    if (uid !== undefined && gid !== undefined) await file.chown(uid, gid);
    await file.chmod(mode);
    await file.sync();
  });
}
