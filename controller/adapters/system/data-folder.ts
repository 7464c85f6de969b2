import { lstatSync, mkdirSync, statfsSync } from 'node:fs';
import type { Logger } from 'pino';
import { AppError, messageOf, wrongState } from '../../../shared/errors.js';

/** `f_type` of statfs(2). */
const NFS_MAGIC = 0x6969;

/**
 * Makes the data folder if it is missing: mode 0700, since the CA's key is in it.
 *
 * @throws {AppError} `wrong_state` if it belongs to another user or others can write to it; `unavailable` if it cannot be
 *   made
 */
export function prepareDataFolder(path: string, log: Logger): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw new AppError('unavailable', `${path} cannot be made: ${messageOf(error)}`, { path, hint: HINT }, error);
  }
  checkOwner(path);
  if (isOnNfs(path)) {
    log.warn({ dataDir: path, hint: 'a local disk is faster and safer: --data-dir' }, 'data folder is on nfs');
  }
}

const HINT = 'use another --data-dir';

function checkOwner(path: string): void {
  const { uid, mode } = lstatSync(path);
  const own = process.getuid?.();
  if (uid !== own) {
    throw wrongState(`${path} belongs to another user (uid ${String(uid)})`, { path, hint: HINT });
  }
  if ((mode & 0o022) !== 0) {
    throw wrongState(`${path} can be written by others (mode ${(mode & 0o777).toString(8)})`, {
      path,
      hint: `chmod 700 ${path}`,
    });
  }
}

export function isOnNfs(path: string): boolean {
  return statfsSync(path).type === NFS_MAGIC;
}
