import { notFound } from '../../../shared/errors.js';
import type { Host } from '../../domain/host.js';
import type { HostId } from '../../domain/vm.js';
import type { HostStore } from '../../ports/store.js';
import type { Change, Connection, Select, SqlValue } from './connection.js';
import { addressesColumn, factsColumn, parseColumn } from './json-column.js';

interface Row {
  readonly id: number;
  readonly name: string;
  readonly deployment_id: string;
  readonly boot_id: string;
  readonly session_counter: number;
  readonly is_simulated: number;
  readonly joined_at_ms: number;
  readonly last_seen_at_ms: number | null;
  readonly revoked_at_ms: number | null;
  readonly clock_offset_ms: number;
  readonly facts: string | null;
  readonly session_addresses: string;
}

const COLUMNS = `name, deployment_id, boot_id, session_counter, is_simulated, joined_at_ms, last_seen_at_ms,
  revoked_at_ms, clock_offset_ms, facts, session_addresses`;

const VALUES = COLUMNS.replaceAll(/\w+/g, '?');

export class SqliteHostStore implements HostStore {
  private readonly insertRow: Change;
  private readonly updateRow: Change;
  private readonly deleteRow: Change;
  private readonly byName: Select<Row, Host>;
  private readonly byId: Select<Row, Host>;
  private readonly all: Select<Row, Host>;

  constructor(connection: Connection) {
    this.insertRow = connection.change(`INSERT INTO host (${COLUMNS}) VALUES (${VALUES})`);
    this.updateRow = connection.change(`UPDATE host SET (${COLUMNS}) = (${VALUES}) WHERE id = ?`);
    this.deleteRow = connection.change('DELETE FROM host WHERE id = ?');
    this.byName = connection.select('SELECT * FROM host WHERE name = ?', toHost);
    this.byId = connection.select('SELECT * FROM host WHERE id = ?', toHost);
    this.all = connection.select('SELECT * FROM host ORDER BY name', toHost);
  }

  insert(host: Omit<Host, 'id'>): Host {
    return { ...host, id: this.insertRow.insert(...toColumns(host)) };
  }

  update(host: Host): void {
    if (this.updateRow.run(...toColumns(host), host.id) === 1) return;
    throw notFound(`host ${host.name} is not known`, { host: host.name });
  }

  remove(id: HostId): void {
    this.deleteRow.run(id);
  }

  findByName(name: string): Host | undefined {
    return this.byName.find(name);
  }

  findById(id: HostId): Host | undefined {
    return this.byId.find(id);
  }

  list(): readonly Host[] {
    return this.all.list();
  }
}

function toColumns(host: Omit<Host, 'id'>): SqlValue[] {
  return [
    host.name,
    host.deploymentId,
    host.bootId,
    host.sessionCounter,
    Number(host.isSimulated),
    host.joinedAtMs,
    host.lastSeenAtMs,
    host.revokedAtMs,
    host.clockOffsetMs,
    host.facts === undefined ? undefined : JSON.stringify(host.facts),
    JSON.stringify(host.sessionAddresses),
  ];
}

function toHost(row: Row): Host {
  return {
    id: row.id,
    name: row.name,
    deploymentId: row.deployment_id,
    bootId: row.boot_id,
    sessionCounter: row.session_counter,
    isSimulated: row.is_simulated === 1,
    joinedAtMs: row.joined_at_ms,
    lastSeenAtMs: row.last_seen_at_ms ?? undefined,
    revokedAtMs: row.revoked_at_ms ?? undefined,
    clockOffsetMs: row.clock_offset_ms,
    facts: row.facts === null ? undefined : parseColumn(factsColumn, row.facts),
    sessionAddresses: parseColumn(addressesColumn, row.session_addresses),
  };
}
