import { accessSync, closeSync, constants, mkdirSync, openSync, readSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { AppError, messageOf, wrongState } from '../../../shared/errors.js';
import { APPLICATION_ID } from './schema.js';

const APPLICATION_ID_OFFSET = 68;

/**
 * Makes sure that the file is there, ours alone to read (SQLite gives its -wal the same mode) and writable.
 *
 * @throws {AppError} `unavailable` if the folder or the file cannot be written, `wrong_state` if a foreign journal is beside it
 */
export function prepareFile(path: string): void {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    // SQLite opens what it may not write as read-only, without a word.
    accessSync(dirname(path), constants.W_OK);
    createFile(path);
    accessSync(path, constants.R_OK | constants.W_OK);
  } catch (error) {
    throw unwritable(path, error);
  }
  refuseJournal(path);
}

/** An error of the file system, as it is told to the user. */
export function unwritable(path: string, error: unknown): AppError {
  const reason = messageOf(error);
  const hint = reason.startsWith('ENOSPC')
    ? 'make room on that disk, or use another --data-dir'
    : 'make the folder writable, or use another --data-dir';
  return new AppError('unavailable', `${path} cannot be written`, { database: path, reason, hint }, error);
}

function createFile(path: string): void {
  try {
    closeSync(openSync(path, 'ax', 0o600));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}

/**
 * A database of ours is in WAL mode and has no rollback journal. SQLite would play back one that was copied or left beside
 * it, over newer pages (sqlite.org/howtocorrupt.html, 1.4). Before the first migration there may be one of our own.
 */
function refuseJournal(path: string): void {
  const journal = `${path}-journal`;
  const isEmpty = (statSync(journal, { throwIfNoEntry: false })?.size ?? 0) === 0;
  if (isEmpty || readApplicationId(path) !== APPLICATION_ID) return;
  throw wrongState(`${journal} is not of this database`, {
    database: path,
    hint: 'move that file away if you know where it comes from, else restore a backup of the data folder',
  });
}

// Only reached when a journal is there: closing a descriptor drops every lock that this process has on the file (fcntl(2)).
function readApplicationId(path: string): number {
  const file = openSync(path, 'r');
  try {
    const field = new DataView(new ArrayBuffer(4));
    return readSync(file, field, 0, 4, APPLICATION_ID_OFFSET) === 4 ? field.getUint32(0) : 0;
  } finally {
    closeSync(file);
  }
}
