import Driver from 'better-sqlite3';
import { AppError, messageOf, toAppError, type ErrorCode } from '../../../shared/errors.js';

interface Meaning {
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint: string;
}

const FULL: Meaning = {
  code: 'unavailable',
  message: 'the disk of the database is full',
  hint: 'make room on it and try again; nothing of this request was kept',
};
const FAILING: Meaning = {
  code: 'unavailable',
  message: 'the disk of the database fails',
  hint: 'look at the kernel log and at the mount of the data folder',
};
const READ_ONLY: Meaning = {
  code: 'unavailable',
  message: 'the database cannot be written',
  hint: 'make the data folder writable, or use another --data-dir',
};
const LOCKED: Meaning = {
  code: 'unavailable',
  message: 'the database is locked by another process',
  hint: 'stop that process, or use another --data-dir',
};
const DAMAGED: Meaning = {
  code: 'wrong_state',
  message: 'the database is damaged',
  hint: 'stop the controller and restore a backup of the data folder, or use another --data-dir',
};
const FOREIGN: Meaning = {
  code: 'wrong_state',
  message: 'the file is no SQLite database',
  hint: 'restore a backup of the data folder, or use another --data-dir; the file is left as it is',
};
const TAKEN: Meaning = {
  code: 'raced',
  message: 'another row already has that value',
  hint: 'try the whole call again',
};
const REFERRED: Meaning = {
  code: 'wrong_state',
  message: 'a row that is referred to is missing, or would be',
  hint: 'remove first what refers to it',
};

/** Primary result codes first, then the extended ones that mean something else (sqlite.org/rescode.html). */
const MEANINGS: ReadonlyMap<string, Meaning> = new Map([
  ['SQLITE_FULL', FULL],
  ['SQLITE_IOERR', FAILING],
  ['SQLITE_READONLY', READ_ONLY],
  ['SQLITE_CANTOPEN', READ_ONLY],
  ['SQLITE_PERM', READ_ONLY],
  ['SQLITE_BUSY', LOCKED],
  ['SQLITE_LOCKED', LOCKED],
  ['SQLITE_PROTOCOL', LOCKED],
  ['SQLITE_CORRUPT', DAMAGED],
  ['SQLITE_NOTADB', FOREIGN],
  ['SQLITE_CONSTRAINT_UNIQUE', TAKEN],
  ['SQLITE_CONSTRAINT_PRIMARYKEY', TAKEN],
  ['SQLITE_CONSTRAINT_ROWID', TAKEN],
  ['SQLITE_CONSTRAINT_FOREIGNKEY', REFERRED],
]);

/**
 * What an error of the driver means to a caller. An AppError is returned as it is, anything unknown becomes `internal`.
 *
 * @param path of the database, for `details.database`; nothing if it is in memory
 */
export function fromSqlite(error: unknown, path?: string): AppError {
  if (!(error instanceof Driver.SqliteError)) return toAppError(error);
  const meaning = MEANINGS.get(error.code) ?? MEANINGS.get(primaryCode(error.code));
  if (meaning === undefined) return toAppError(error);
  const where = path === undefined ? {} : { database: path };
  const details = { ...where, sqlite: error.code, reason: error.message, hint: meaning.hint };
  return new AppError(meaning.code, meaning.message, details, error);
}

/** A row that the schema allows but no version of this program wrote. */
export function damagedRow(error: unknown): AppError {
  return new AppError(DAMAGED.code, DAMAGED.message, { reason: messageOf(error), hint: DAMAGED.hint }, error);
}

export function isLocked(error: unknown): boolean {
  return error instanceof Driver.SqliteError && MEANINGS.get(primaryCode(error.code)) === LOCKED;
}

/** SQLITE_IOERR_WRITE is a kind of SQLITE_IOERR. */
function primaryCode(code: string): string {
  return code.split('_').slice(0, 2).join('_');
}
