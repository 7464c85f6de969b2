import type Driver from 'better-sqlite3';
import { AppError } from '../../../shared/errors.js';
import { damagedRow, fromSqlite } from './sqlite-error.js';

/** What a parameter may be. `undefined` is written as NULL. */
export type SqlValue = string | number | null | undefined;

// Shapes of filters are few; the limit only stops a caller who makes up new ones from filling the memory.
const MAX_SHAPES = 256;

/**
 * Invariants:
 * - Every statement is prepared here, so that every error of the driver is translated in one place.
 * - Nothing is changed outside of a transaction: SQLite may end one by itself (disk full, I/O error), and the statement
 *   after that would commit alone.
 */
export class Connection {
  readonly driver: Driver.Database;
  /** Between BEGIN and the end of `write`, even if SQLite has rolled back meanwhile. */
  isWriting = false;

  constructor(driver: Driver.Database) {
    this.driver = driver;
  }

  /** @param decode makes the value of a row; what it throws is reported as a damaged database */
  select<Row, T>(sql: string, decode: (row: Row) => T): Select<Row, T> {
    return new Select(this.driver.prepare<SqlValue[], Row>(sql), decode);
  }

  /** A query of one column, without a decoder. The caller knows from the schema what is in it. */
  column<T extends string | number | null>(sql: string): Column<T> {
    return new Column(this.driver.prepare<SqlValue[], T>(sql).pluck());
  }

  change(sql: string): Change {
    return new Change(this, this.driver.prepare<SqlValue[]>(sql));
  }

  /** Runs statements of transaction control, and nothing else. */
  control(sql: string): () => void {
    const statement = this.driver.prepare(sql);
    return () => {
      try {
        statement.run();
      } catch (error) {
        throw fromSqlite(error);
      }
    };
  }
}

export class Select<Row, T> {
  private readonly statement: Driver.Statement<SqlValue[], Row>;
  private readonly decode: (row: Row) => T;

  constructor(statement: Driver.Statement<SqlValue[], Row>, decode: (row: Row) => T) {
    this.statement = statement;
    this.decode = decode;
  }

  find(...params: SqlValue[]): T | undefined {
    const row = translated(() => this.statement.get(...params));
    return row === undefined ? undefined : this.decoded(row);
  }

  list(...params: SqlValue[]): T[] {
    return translated(() => this.statement.all(...params)).map((row) => this.decoded(row));
  }

  private decoded(row: Row): T {
    try {
      return this.decode(row);
    } catch (error) {
      throw damagedRow(error);
    }
  }
}

export class Column<T> {
  private readonly statement: Driver.Statement<SqlValue[], T>;

  constructor(statement: Driver.Statement<SqlValue[], T>) {
    this.statement = statement;
  }

  find(...params: SqlValue[]): T | undefined {
    return translated(() => this.statement.get(...params));
  }

  list(...params: SqlValue[]): T[] {
    return translated(() => this.statement.all(...params));
  }
}

export class Change {
  private readonly connection: Connection;
  private readonly statement: Driver.Statement<SqlValue[]>;

  constructor(connection: Connection, statement: Driver.Statement<SqlValue[]>) {
    this.connection = connection;
    this.statement = statement;
  }

  /** @returns how many rows were changed */
  run(...params: SqlValue[]): number {
    return this.execute(params).changes;
  }

  /** @returns the id of the new row */
  insert(...params: SqlValue[]): number {
    return Number(this.execute(params).lastInsertRowid);
  }

  private execute(params: SqlValue[]): Driver.RunResult {
    if (!this.connection.driver.inTransaction) throw noTransaction(this.connection.isWriting);
    return translated(() => this.statement.run(...params));
  }
}

/** One prepared statement for each text that a filter leads to. */
export class Shapes<Row, T> {
  private readonly connection: Connection;
  private readonly decode: (row: Row) => T;
  private readonly prepared = new Map<string, Select<Row, T>>();

  constructor(connection: Connection, decode: (row: Row) => T) {
    this.connection = connection;
    this.decode = decode;
  }

  for(sql: string): Select<Row, T> {
    const known = this.prepared.get(sql);
    if (known !== undefined) return known;
    if (this.prepared.size >= MAX_SHAPES) this.prepared.clear();
    const fresh = this.connection.select(sql, this.decode);
    this.prepared.set(sql, fresh);
    return fresh;
  }
}

/** Refuses work in a transaction that SQLite has ended by itself. */
export function noTransaction(isWriting: boolean): AppError {
  return isWriting
    ? new AppError('unavailable', 'the database undid this transaction after an error', { hint: 'try again' })
    : new AppError('internal', 'the database was to be changed outside of a transaction');
}

function translated<T>(run: () => T): T {
  try {
    return run();
  } catch (error) {
    throw fromSqlite(error);
  }
}
