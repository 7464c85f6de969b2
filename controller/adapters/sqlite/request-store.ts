import type { RequestRecord, RequestStore } from '../../ports/store.js';
import type { Change, Connection, Select } from './connection.js';

interface Row {
  readonly request_id: string;
  readonly fingerprint: string;
  readonly answer: string;
  readonly at_ms: number;
}

export class SqliteRequestStore implements RequestStore {
  private readonly insertRow: Change;
  private readonly deleteOld: Change;
  private readonly byId: Select<Row, RequestRecord>;

  constructor(connection: Connection) {
    this.insertRow = connection.change(
      'INSERT INTO request (request_id, fingerprint, answer, at_ms) VALUES (?, ?, ?, ?)',
    );
    this.deleteOld = connection.change(
      'DELETE FROM request WHERE rowid IN (SELECT rowid FROM request WHERE at_ms < ? ORDER BY at_ms LIMIT ?)',
    );
    this.byId = connection.select('SELECT * FROM request WHERE request_id = ?', toRecord);
  }

  find(requestId: string): RequestRecord | undefined {
    return this.byId.find(requestId);
  }

  insert(record: RequestRecord): void {
    this.insertRow.run(record.requestId, record.fingerprint, record.answer, record.atMs);
  }

  prune(beforeMs: number, limit: number): number {
    return this.deleteOld.run(beforeMs, limit);
  }
}

function toRecord(row: Row): RequestRecord {
  return { requestId: row.request_id, fingerprint: row.fingerprint, answer: row.answer, atMs: row.at_ms };
}
