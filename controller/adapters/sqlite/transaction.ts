import type { Logger } from 'pino';
import { AppError, toAppError } from '../../../shared/errors.js';
import type { Stores, Tx } from '../../ports/store.js';
import { noTransaction, type Connection } from './connection.js';

type Act = () => void;

/** The statements of transaction control, prepared once. */
export class TransactionControl {
  readonly begin: Act;
  readonly commit: Act;
  readonly rollback: Act;
  readonly savepoint: Act;
  readonly release: Act;
  readonly rollbackTo: Act;

  constructor(connection: Connection) {
    this.begin = connection.control('BEGIN IMMEDIATE');
    this.commit = connection.control('COMMIT');
    this.rollback = connection.control('ROLLBACK');
    // Nested ones share the name: SQLite takes the innermost.
    this.savepoint = connection.control('SAVEPOINT part');
    this.release = connection.control('RELEASE part');
    this.rollbackTo = connection.control('ROLLBACK TO part');
  }
}

/**
 * One transaction and what is to be done in memory with its outcome.
 *
 * Invariants:
 * - Undo actions run newest first and all of them, whatever one of them throws.
 * - What a savepoint registered goes away with it: its undo actions run, its committed actions are forgotten.
 * - After SQLite ended the transaction by itself nothing more is written, and COMMIT is refused.
 */
export class Transaction {
  private readonly connection: Connection;
  private readonly control: TransactionControl;
  private readonly log: Logger | undefined;
  private readonly undos: Act[] = [];
  private readonly acts: Act[] = [];
  /** Why SQLite ended it. */
  private failure: AppError | undefined;

  constructor(connection: Connection, control: TransactionControl, log: Logger | undefined) {
    this.connection = connection;
    this.control = control;
    this.log = log;
  }

  bind(stores: Stores): Tx {
    return {
      ...stores,
      savepoint: (work) => this.savepoint(work),
      onUndo: (undo) => void this.undos.push(undo),
      onCommitted: (act) => void this.acts.push(act),
    };
  }

  commit(): void {
    if (!this.connection.driver.inTransaction) throw this.failure ?? noTransaction(true);
    this.control.commit();
  }

  /** Undoes everything. Does not throw: the error that led here is the one to tell. */
  rollback(): void {
    this.rollbackDisk();
    this.undoDownTo(0);
  }

  /** Runs what waited for durability. */
  settle(): void {
    for (const act of this.acts) this.attempt(act, 'action after commit failed');
  }

  private savepoint<T>(work: () => T): T {
    if (!this.connection.driver.inTransaction) throw this.failure ?? noTransaction(this.connection.isWriting);
    const mark = { undos: this.undos.length, acts: this.acts.length };
    this.control.savepoint();
    try {
      const result = refusePromise(work());
      this.control.release();
      return result;
    } catch (error) {
      this.undoPart(error);
      this.acts.length = mark.acts;
      this.undoDownTo(mark.undos);
      throw error;
    }
  }

  private undoPart(cause: unknown): void {
    // SQLITE_FULL, SQLITE_IOERR and a few more may have rolled back everything (sqlite.org/lang_transaction.html).
    if (!this.connection.driver.inTransaction) {
      this.failure ??= toAppError(cause);
      return;
    }
    try {
      this.control.rollbackTo();
      this.control.release();
    } catch (error) {
      this.failure ??= toAppError(error);
      this.rollbackDisk();
    }
  }

  private rollbackDisk(): void {
    if (this.connection.driver.inTransaction) this.attempt(this.control.rollback, 'rollback failed');
  }

  private undoDownTo(mark: number): void {
    while (this.undos.length > mark) {
      const undo = this.undos.pop();
      if (undo !== undefined) this.attempt(undo, 'undo in memory failed');
    }
  }

  private attempt(act: Act, failed: string): void {
    try {
      act();
    } catch (error) {
      this.log?.error({ err: error }, failed);
    }
  }
}

/** An async function would return at its first `await`, before its writes. */
export function refusePromise<T>(result: T): T {
  if (result instanceof Promise)
    throw new AppError('internal', 'a transaction is synchronous, but its work returned a promise');
  return result;
}
