import type Driver from 'better-sqlite3';
import { wrongState } from '../../../shared/errors.js';
import { MIGRATIONS } from './migrations.js';

/** "domh" in ASCII, at offset 68 of the file (sqlite.org/fileformat.html), so that file(1) and we know whose it is. */
export const APPLICATION_ID = 0x646f6d68;

/**
 * Refuses a file that another program or a newer version wrote. Changes nothing.
 *
 * @throws {AppError} `wrong_state`
 */
export function checkSchema(driver: Driver.Database, path: string): void {
  const version = pragmaNumber(driver, 'user_version');
  if (pragmaNumber(driver, 'application_id') !== APPLICATION_ID && !isBlank(driver, version)) {
    throw wrongState(`${path} belongs to another program`, {
      database: path,
      hint: 'use another --data-dir; the file is left as it is',
    });
  }
  if (version > MIGRATIONS.length) throw newerSchema(path, version);
}

/** Brings the schema up to date, each step in a transaction of its own. */
export function migrate(driver: Driver.Database): void {
  const present = pragmaNumber(driver, 'user_version');
  MIGRATIONS.slice(present).forEach((statements, n) => {
    driver
      .transaction(() => {
        driver.exec(statements);
        driver.pragma(`application_id = ${String(APPLICATION_ID)}`);
        driver.pragma(`user_version = ${String(present + n + 1)}`);
      })
      .immediate();
  });
}

/** New, or left by a first start that did not get as far as the first migration. */
function isBlank(driver: Driver.Database, version: number): boolean {
  if (version !== 0 || pragmaNumber(driver, 'application_id') !== 0) return false;
  return driver.prepare('SELECT 1 FROM sqlite_schema LIMIT 1').get() === undefined;
}

function newerSchema(path: string, version: number): Error {
  const own = String(MIGRATIONS.length);
  return wrongState(`${path} has schema version ${String(version)}, and this domherd knows versions up to ${own}`, {
    database: path,
    version: String(version),
    supportedVersion: own,
    hint: 'upgrade domherd, or use another --data-dir; the file is left as it is',
  });
}

export function pragmaNumber(driver: Driver.Database, name: string): number {
  return Number(driver.pragma(name, { simple: true }));
}
