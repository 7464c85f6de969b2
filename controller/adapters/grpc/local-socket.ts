import { chmodSync, lstatSync, mkdirSync, rmSync, type Stats } from 'node:fs';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import { AppError, invalid, messageOf, wrongState } from '../../../shared/errors.js';
import { MAX_SOCKET_PATH_BYTES } from '../../../shared/domain/socket-path.js';

/** On one machine, one that does not answer within this does not run. */
const PROBE_MS = 2_000;

/**
 * Makes room for a socket that only its owner can open: in a folder of mode 0700 (made if missing) that is his, and
 * without what a dead server left there.
 *
 * @param path absolute
 * @throws {AppError} `invalid` if the path is too long; `wrong_state` if the folder is open to others or the path is
 *   something else than a socket; `unavailable` if a controller listens there, or the folder cannot be made
 */
export async function prepareSocket(path: string): Promise<void> {
  checkLength(path);
  prepareFolder(dirname(path));
  const found = statIfThere(path);
  if (found === undefined) return;
  if (!found.isSocket()) {
    throw wrongState(`${path} is there already and is no socket`, { path, hint: 'use another --socket' });
  }
  if (await isServed(path)) {
    throw new AppError('unavailable', `A controller listens on ${path} already`, {
      path,
      hint: 'stop it, or use another --socket and --data-dir',
    });
  }
  rmSync(path, { force: true });
}

/** To be called once it is bound; until then the folder alone keeps others out. */
export function protectSocket(path: string): void {
  chmodSync(path, 0o600);
}

function checkLength(path: string): void {
  const bytes = Buffer.byteLength(path);
  if (bytes <= MAX_SOCKET_PATH_BYTES) return;
  throw invalid(`The socket path has ${String(bytes)} bytes, more than ${String(MAX_SOCKET_PATH_BYTES)}: ${path}`, {
    path,
    hint: 'use a shorter one: --socket /tmp/domherd-$USER/c.sock',
  });
}

function prepareFolder(folder: string): void {
  const found = statIfThere(folder) ?? makeFolder(folder);
  if (!found.isDirectory())
    throw wrongState(`${folder} is not a folder`, { path: folder, hint: 'use another --socket' });
  if (found.uid !== process.getuid?.()) {
    throw wrongState(`${folder} belongs to another user (uid ${String(found.uid)})`, {
      path: folder,
      hint: 'use another --socket, in a folder of your own',
    });
  }
  if ((found.mode & 0o077) !== 0) {
    throw wrongState(`${folder} is open to others (mode ${(found.mode & 0o777).toString(8)})`, {
      path: folder,
      hint: `who can open the socket is admin: chmod 700 ${folder}, or name a folder that is not there yet`,
    });
  }
}

function makeFolder(folder: string): Stats {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    return lstatSync(folder);
  } catch (error) {
    throw new AppError('unavailable', `${folder} cannot be made: ${messageOf(error)}`, { path: folder }, error);
  }
}

function statIfThere(path: string): Stats | undefined {
  try {
    return lstatSync(path, { throwIfNoEntry: false });
  } catch (error) {
    const hint = 'use another --socket';
    throw new AppError('unavailable', `${path} cannot be looked at: ${messageOf(error)}`, { path, hint }, error);
  }
}

/** A socket whose server is dead refuses: connect(2), ECONNREFUSED. */
function isServed(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path);
    const answer = (isThere: boolean) => (): void => {
      probe.destroy();
      resolve(isThere);
    };
    probe.setTimeout(PROBE_MS, answer(true));
    probe.once('connect', answer(true));
    probe.once('error', answer(false));
  });
}
