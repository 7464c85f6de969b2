import type { Identity, IdentityStore } from '../../ports/store.js';
import type { Change, Column, Connection, Select } from './connection.js';

interface Row {
  readonly serial: string;
  readonly role: Identity['role'];
  readonly name: string;
  readonly issued_at_ms: number;
  readonly expires_at_ms: number;
  readonly revoked_at_ms: number | null;
}

export class SqliteIdentityStore implements IdentityStore {
  private readonly insertRow: Change;
  private readonly revokeRows: Change;
  private readonly deleteOld: Change;
  private readonly bySerial: Select<Row, Identity>;
  private readonly byName: Select<Row, Identity>;
  private readonly revoked: Column<string>;

  constructor(connection: Connection) {
    this.insertRow = connection.change(
      `INSERT INTO identity (serial, role, name, issued_at_ms, expires_at_ms, revoked_at_ms)
       VALUES (?, ?, ?, ?, ?, ?)`,
    );
    // One that was revoked before keeps its time.
    this.revokeRows = connection.change(
      'UPDATE identity SET revoked_at_ms = ? WHERE role = ? AND name = ? AND revoked_at_ms IS NULL',
    );
    this.deleteOld = connection.change('DELETE FROM identity WHERE expires_at_ms < ?');
    this.bySerial = connection.select('SELECT * FROM identity WHERE serial = ?', toIdentity);
    this.byName = connection.select(
      'SELECT * FROM identity WHERE role = ? AND name = ? ORDER BY issued_at_ms, serial',
      toIdentity,
    );
    this.revoked = connection.column(
      'SELECT serial FROM identity WHERE revoked_at_ms IS NOT NULL AND expires_at_ms > ? ORDER BY expires_at_ms',
    );
  }

  insert(identity: Identity): void {
    const { serial, role, name, issuedAtMs, expiresAtMs, revokedAtMs } = identity;
    this.insertRow.run(serial, role, name, issuedAtMs, expiresAtMs, revokedAtMs);
  }

  find(serial: string): Identity | undefined {
    return this.bySerial.find(serial);
  }

  listByName(role: Identity['role'], name: string): readonly Identity[] {
    return this.byName.list(role, name);
  }

  revoke(role: Identity['role'], name: string, nowMs: number): readonly string[] {
    this.revokeRows.run(nowMs, role, name);
    return this.listByName(role, name).map(({ serial }) => serial);
  }

  listRevoked(nowMs: number): readonly string[] {
    return this.revoked.list(nowMs);
  }

  prune(beforeMs: number): number {
    return this.deleteOld.run(beforeMs);
  }
}

function toIdentity(row: Row): Identity {
  return {
    serial: row.serial,
    role: row.role,
    name: row.name,
    issuedAtMs: row.issued_at_ms,
    expiresAtMs: row.expires_at_ms,
    revokedAtMs: row.revoked_at_ms ?? undefined,
  };
}
