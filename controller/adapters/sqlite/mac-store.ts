import { macFromNumber, type Mac } from '../../../shared/domain/mac.js';
import type { OwnerKey } from '../../domain/lease.js';
import type { MacEntry, MacReason, MacStore } from '../../ports/store.js';
import type { Change, Connection, Select } from './connection.js';

interface Row {
  readonly mac: number;
  readonly reason: MacReason;
  readonly owner: string;
  readonly lease_id: number | null;
  readonly at_ms: number;
}

const BELOW_ALL = -1;

export class SqliteMacStore implements MacStore {
  private readonly insertRow: Change;
  private readonly deleteRow: Change;
  private readonly byMac: Select<Row, MacEntry>;
  private readonly claim: Select<Row, MacEntry>;
  private readonly page: Select<Row, MacEntry>;

  constructor(connection: Connection) {
    this.insertRow = connection.change('INSERT INTO mac (mac, reason, owner, lease_id, at_ms) VALUES (?, ?, ?, ?, ?)');
    this.deleteRow = connection.change('DELETE FROM mac WHERE mac = ?');
    this.byMac = connection.select('SELECT * FROM mac WHERE mac = ?', toEntry);
    this.claim = connection.select(
      'SELECT * FROM mac WHERE owner = ? AND lease_id IS NULL ORDER BY at_ms DESC, mac LIMIT 1',
      toEntry,
    );
    this.page = connection.select('SELECT * FROM mac WHERE mac > ? ORDER BY mac LIMIT ?', toEntry);
  }

  insert(entry: MacEntry): void {
    this.insertRow.run(entry.mac, entry.reason, entry.owner, entry.leaseId, entry.atMs);
  }

  find(mac: Mac): MacEntry | undefined {
    return this.byMac.find(mac);
  }

  findClaim(owner: OwnerKey): MacEntry | undefined {
    return this.claim.find(owner);
  }

  remove(mac: Mac): void {
    this.deleteRow.run(mac);
  }

  list(after: Mac | undefined, limit: number): readonly MacEntry[] {
    return this.page.list(after ?? BELOW_ALL, limit);
  }
}

function toEntry(row: Row): MacEntry {
  return {
    mac: macFromNumber(row.mac),
    reason: row.reason,
    owner: row.owner,
    leaseId: row.lease_id ?? undefined,
    atMs: row.at_ms,
  };
}
