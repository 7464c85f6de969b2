import { AppError } from '../../../shared/errors.js';
import type { JoinToken, TokenStore } from '../../ports/store.js';
import type { Change, Column, Connection, Select } from './connection.js';
import { addressesColumn, parseColumn } from './json-column.js';

interface Row {
  readonly id: number;
  readonly secret_hash: string;
  readonly host_pattern: string;
  readonly uses_left: number;
  readonly expires_at_ms: number;
  readonly session_addresses: string;
}

export class SqliteTokenStore implements TokenStore {
  private readonly insertRow: Change;
  private readonly takeUse: Change;
  private readonly insertUse: Change;
  private readonly deleteOld: Change;
  private readonly byHash: Select<Row, JoinToken>;
  private readonly used: Column<number>;

  constructor(connection: Connection) {
    this.insertRow = connection.change(
      'INSERT INTO token (secret_hash, host_pattern, uses_left, expires_at_ms, session_addresses) VALUES (?, ?, ?, ?, ?)',
    );
    this.takeUse = connection.change('UPDATE token SET uses_left = uses_left - 1 WHERE id = ? AND uses_left > 0');
    this.insertUse = connection.change(
      'INSERT INTO token_use (token_id, host, key_hash) VALUES (?, ?, ?) ON CONFLICT DO NOTHING',
    );
    this.deleteOld = connection.change('DELETE FROM token WHERE expires_at_ms < ?');
    this.byHash = connection.select('SELECT * FROM token WHERE secret_hash = ?', toToken);
    this.used = connection.column('SELECT 1 FROM token_use WHERE token_id = ? AND host = ? AND key_hash = ?');
  }

  insert(token: Omit<JoinToken, 'id'>): JoinToken {
    const { secretHash, hostPattern, usesLeft, expiresAtMs } = token;
    const addresses = JSON.stringify(token.sessionAddresses);
    const id = this.insertRow.insert(secretHash, hostPattern, usesLeft, expiresAtMs, addresses);
    return { ...token, id };
  }

  findByHash(secretHash: string): JoinToken | undefined {
    return this.byHash.find(secretHash);
  }

  /** @throws {AppError} `raced` when the token is gone or has no use left */
  use(id: number, host: string, keyHash: string): void {
    if (this.takeUse.run(id) === 0) throw new AppError('raced', 'the join token has no use left', { host });
    this.insertUse.run(id, host, keyHash);
  }

  wasUsed(id: number, host: string, keyHash: string): boolean {
    return this.used.find(id, host, keyHash) !== undefined;
  }

  prune(beforeMs: number): number {
    return this.deleteOld.run(beforeMs);
  }
}

function toToken(row: Row): JoinToken {
  return {
    id: row.id,
    secretHash: row.secret_hash,
    hostPattern: row.host_pattern,
    usesLeft: row.uses_left,
    expiresAtMs: row.expires_at_ms,
    sessionAddresses: parseColumn(addressesColumn, row.session_addresses),
  };
}
