import { lstatSync, mkdirSync, statSync } from 'node:fs';
import type { Logger } from 'pino';
import { AppError, messageOf, wrongState } from '../../../shared/errors.js';
import { nfsKindOf, readMount, type Mount } from './mount.js';

const HINT = 'use another --data-dir';
const LOCAL_HINT = 'use a --data-dir on a local disk';

/**
 * Makes the data folder if it is missing: mode 0700, since the CA's key is in it.
 *
 * @throws {AppError} `wrong_state` if it belongs to another user, others can write to it, or it is on NFS without locks that
 *   other machines see; `unavailable` if it cannot be made
 */
export function prepareDataFolder(path: string, log: Logger, mountOf: (path: string) => Mount = readMount): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw new AppError('unavailable', `${path} cannot be made: ${messageOf(error)}`, { path, hint: HINT }, error);
  }
  checkOwner(path);
  checkMount(path, mountOf(path), log);
}

function checkOwner(path: string): void {
  const own = process.getuid?.();
  const { uid, mode } = statSync(path);
  // A link of somebody else could be turned to another folder of ours later.
  const foreign = [lstatSync(path).uid, uid].find((one) => one !== own);
  if (foreign !== undefined) {
    throw wrongState(`${path} belongs to another user (uid ${String(foreign)})`, { path, hint: HINT });
  }
  if ((mode & 0o022) !== 0) {
    throw wrongState(`${path} can be written by others (mode ${(mode & 0o777).toString(8)})`, {
      path,
      hint: `chmod 700 ${path}`,
    });
  }
}

/** The lock on the database is what keeps a second controller out, also one on another frontend. */
function checkMount(path: string, mount: Mount, log: Logger): void {
  const kind = nfsKindOf(mount);
  if (kind === 'none') return;
  if (kind === 'unlocked') {
    throw wrongState(`${path} is on NFS without locks: a controller on another machine could use it too`, {
      path,
      options: mount.options,
      hint: LOCAL_HINT,
    });
  }
  log.warn({ dataDir: path, hint: `${LOCAL_HINT}: it is faster and safer` }, 'data folder is on nfs');
}
