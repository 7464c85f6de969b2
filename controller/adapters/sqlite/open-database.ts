import Driver from 'better-sqlite3';
import { dirname } from 'node:path';
import type { Logger } from 'pino';
import { AppError } from '../../../shared/errors.js';
import type { Database } from '../../ports/store.js';
import { Connection } from './connection.js';
import { prepareFile, unwritable } from './database-file.js';
import { checkPages } from './integrity.js';
import { isStale, readOwner, removeOwner, writeOwner, type OwnerRecord } from './owner-record.js';
import { checkSchema, migrate } from './schema.js';
import { SqliteDatabase } from './sqlite-database.js';
import { fromSqlite, isLocked } from './sqlite-error.js';

export interface OpenDatabaseOptions {
  /** Its folder is the data folder; the owner record is beside it. */
  readonly path: string;
  readonly log?: Logger | undefined;
  readonly owner: OwnerRecord;
}

// The file has one owner, so waiting is of no use but for one that is just going.
const BUSY_TIMEOUT_MS = 250;
// Holds the indexes of 262,144 leases; the default of 16 MiB makes filling a /14 slower towards its end.
const CACHE_KIB = 65_536;

/**
 * Opens the database, made if missing, for this process alone.
 *
 * Nothing else in this process may open the file: closing any descriptor of it drops the lock (fcntl(2)).
 *
 * @throws {AppError} `unavailable` if another process serves it (named in the message) or it cannot be written;
 *   `wrong_state` if it is damaged, another program's, or of a newer version
 */
export function openDatabase(options: OpenDatabaseOptions): Database {
  const { path, log, owner } = options;
  const dataDir = dirname(path);
  prepareFile(path);
  const driver = openFile(path, owner);
  try {
    recordOwner(path, owner);
    setUp(driver, path);
    return new SqliteDatabase(new Connection(driver), log, () => removeOwner(dataDir));
  } catch (error) {
    removeOwner(dataDir);
    driver.close();
    throw fromSqlite(error, path);
  }
}

/** The same code on a database that is gone when closed: for tests of what builds on the stores. */
export function openMemoryDatabase(log?: Logger): Database {
  const driver = new Driver(':memory:');
  setUp(driver, ':memory:');
  return new SqliteDatabase(new Connection(driver), log, () => undefined);
}

/** Locks it before anything is read, so that what is read cannot change. */
function openFile(path: string, owner: OwnerRecord): Driver.Database {
  let driver: Driver.Database | undefined;
  try {
    driver = new Driver(path, { timeout: BUSY_TIMEOUT_MS });
    // Before WAL: its index is then in our own memory, not in a shared file, which NFS has not (sqlite.org/wal.html, 8).
    driver.pragma('locking_mode = EXCLUSIVE');
    // The mode alone locks nothing: the lock is taken, and kept, at the first access.
    driver.exec('BEGIN EXCLUSIVE; COMMIT');
    return driver;
  } catch (error) {
    driver?.close();
    throw isLocked(error) ? servedByAnother(path, owner, error) : fromSqlite(error, path);
  }
}

function setUp(driver: Driver.Database, path: string): void {
  checkSchema(driver, path);
  checkPages(driver, path);
  driver.pragma('journal_mode = WAL');
  // With NORMAL, the default in WAL mode, a power cut may undo commits that were answered.
  driver.pragma('synchronous = FULL');
  driver.pragma('foreign_keys = ON');
  // Savepoints keep what they may have to undo in temporary files otherwise.
  driver.pragma('temp_store = MEMORY');
  driver.pragma(`cache_size = -${String(CACHE_KIB)}`);
  migrate(driver);
}

function recordOwner(path: string, owner: OwnerRecord): void {
  try {
    writeOwner(dirname(path), owner);
  } catch (error) {
    throw unwritable(path, error);
  }
}

function servedByAnother(path: string, self: OwnerRecord, cause: unknown): AppError {
  const record = readOwner(dirname(path));
  const hint = 'stop it, or use another --data-dir';
  if (record === undefined || isStale(record, self)) {
    // ENOLCK comes as SQLITE_BUSY, too (sqlite3, os_unix.c, sqliteErrorFromPosixError).
    const details = { database: path, hint: `${hint}; on NFS its lock service may be down: then use a local disk` };
    return new AppError('unavailable', `${path} is open in another process`, details, cause);
  }
  const since = new Date(record.startedAtMs).toISOString();
  const who = `process ${String(record.pid)} on host ${record.host} since ${since}`;
  const details = { database: path, host: record.host, pid: String(record.pid), since, hint };
  return new AppError('unavailable', `${path} is served by ${who}`, details, cause);
}

export { readOwner, type OwnerRecord };
