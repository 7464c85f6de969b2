import type * as nodeFs from 'node:fs';
import { dirname, join, basename } from 'node:path';
import { errnoOf } from './atomic-file.js';

/** What the boot step asks of the file system; a test has one that fails. */
export type BootFs = Pick<
  typeof nodeFs,
  | 'closeSync'
  | 'copyFileSync'
  | 'fchmodSync'
  | 'fchownSync'
  | 'fsyncSync'
  | 'linkSync'
  | 'lstatSync'
  | 'mkdirSync'
  | 'openSync'
  | 'readdirSync'
  | 'readFileSync'
  | 'readlinkSync'
  | 'realpathSync'
  | 'renameSync'
  | 'rmdirSync'
  | 'statSync'
  | 'symlinkSync'
  | 'unlinkSync'
  | 'utimesSync'
  | 'writeSync'
>;

export interface Ownership {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/** Of a file that a boot step writes and that is not whole yet. Only the boot step removes what one left behind. */
export const LEFTOVER = /^\..+\.boot-[\da-f]{8}\.tmp$/;

/** In the folder of the file itself, so that a rename is all that is left to do. @param run eight hex digits */
export function temporaryOf(path: string, run: string): string {
  return join(dirname(path), `.${basename(path)}.boot-${run}.tmp`);
}

/** A new file, not synced. @throws the system's error, with nothing left behind */
export function writeNew(fs: BootFs, path: string, bytes: Buffer, { mode, uid, gid }: Ownership): void {
  const file = fs.openSync(path, 'wx', 0o600);
  try {
    for (let at = 0; at < bytes.length;) at += fs.writeSync(file, bytes, at);
    // Owner first: chown(2) may clear mode bits.
    if (uid !== process.getuid?.() || gid !== process.getgid?.()) fs.fchownSync(file, uid, gid);
    fs.fchmodSync(file, mode & 0o7777);
  } catch (error) {
    fs.unlinkSync(path);
    throw error;
  } finally {
    fs.closeSync(file);
  }
}

/** Makes a file's bytes, or a folder's names, durable. */
export function syncPath(fs: BootFs, path: string): void {
  const file = fs.openSync(path, 'r');
  try {
    fs.fsyncSync(file);
  } finally {
    fs.closeSync(file);
  }
}

/** What `look` gives, or `undefined` if there is no such file. */
export function unlessGone<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

export function removeQuietly(fs: BootFs, path: string): void {
  try {
    fs.unlinkSync(path);
  } catch {
    // It is gone, or the next run removes it.
  }
}
