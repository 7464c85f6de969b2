import type { Logger } from 'pino';
import { AppError } from '../../../shared/errors.js';
import type { Database, Stores, Tx } from '../../ports/store.js';
import type { Connection } from './connection.js';
import { SqliteEventStore } from './event-store.js';
import { SqliteHostStore } from './host-store.js';
import { SqliteIdentityStore } from './identity-store.js';
import { SqliteLabelStore } from './label-store.js';
import { SqliteLeaseStore } from './lease-store.js';
import { SqliteMacStore } from './mac-store.js';
import { SqliteRequestStore } from './request-store.js';
import { SqliteReservationStore } from './reservation-store.js';
import { SqliteTokenStore } from './token-store.js';
import { refusePromise, Transaction, TransactionControl } from './transaction.js';
import { SqliteVmJobStore } from './vm-job-store.js';
import { SqliteVmStore } from './vm-store.js';

/** The one connection to an open, migrated file. */
export class SqliteDatabase implements Database {
  private readonly connection: Connection;
  private readonly control: TransactionControl;
  private readonly stores: Stores;
  private readonly log: Logger | undefined;
  private readonly onClose: () => void;

  constructor(connection: Connection, log: Logger | undefined, onClose: () => void) {
    this.connection = connection;
    this.control = new TransactionControl(connection);
    this.stores = createStores(connection);
    this.log = log;
    this.onClose = onClose;
  }

  write<T>(work: (tx: Tx) => T): T {
    if (this.connection.isWriting) throw new AppError('internal', 'a transaction was started inside another');
    this.control.begin();
    const transaction = new Transaction(this.connection, this.control, this.log);
    const result = this.runToCommit(transaction, work);
    transaction.settle();
    return result;
  }

  read<T>(work: (stores: Stores) => T): T {
    // One connection, one thread: nothing can change between two reads of one turn, so there is nothing to begin.
    return refusePromise(work(this.stores));
  }

  close(): void {
    if (!this.connection.driver.open) return;
    this.onClose();
    this.connection.driver.close();
  }

  private runToCommit<T>(transaction: Transaction, work: (tx: Tx) => T): T {
    this.connection.isWriting = true;
    try {
      const result = refusePromise(work(transaction.bind(this.stores)));
      transaction.commit();
      return result;
    } catch (error) {
      transaction.rollback();
      throw error;
    } finally {
      this.connection.isWriting = false;
    }
  }
}

function createStores(connection: Connection): Stores {
  return {
    reservations: new SqliteReservationStore(connection),
    leases: new SqliteLeaseStore(connection),
    macs: new SqliteMacStore(connection),
    hosts: new SqliteHostStore(connection),
    vms: new SqliteVmStore(connection),
    labels: new SqliteLabelStore(connection),
    jobs: new SqliteVmJobStore(connection),
    events: new SqliteEventStore(connection),
    requests: new SqliteRequestStore(connection),
    tokens: new SqliteTokenStore(connection),
    identities: new SqliteIdentityStore(connection),
  };
}
