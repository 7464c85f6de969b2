import { ipv4FromNumber } from '../../../shared/domain/ipv4.js';
import { macFromNumber } from '../../../shared/domain/mac.js';
import type { Event, EventFilter, NewEvent } from '../../domain/event.js';
import type { EventStore } from '../../ports/store.js';
import { Shapes, type Change, type Column, type Connection } from './connection.js';
import { detailsColumn, parseColumn } from './json-column.js';
import { Where } from './where.js';

interface Row {
  readonly id: number;
  readonly at_ms: number;
  readonly kind: string;
  readonly message: string;
  readonly actor: string;
  readonly request_id: string | null;
  readonly reservation: string | null;
  readonly address: number | null;
  readonly mac: number | null;
  readonly host: string | null;
  readonly vm_id: number | null;
  readonly owner: string | null;
  readonly details: string | null;
}

export class SqliteEventStore implements EventStore {
  private readonly insertRow: Change;
  private readonly deleteOld: Change;
  private readonly newest: Column<number>;
  private readonly filtered: Shapes<Row, Event>;

  constructor(connection: Connection) {
    this.insertRow = connection.change(
      `INSERT INTO event
         (at_ms, kind, message, actor, request_id, reservation, address, mac, host, vm_id, owner, details)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    );
    this.deleteOld = connection.change(
      'DELETE FROM event WHERE id IN (SELECT id FROM event WHERE at_ms < ? ORDER BY at_ms, id LIMIT ?)',
    );
    // Not max(id) of the table: ids of pruned events count too, or a stream would start over.
    this.newest = connection.column(`SELECT seq FROM sqlite_sequence WHERE name = 'event'`);
    this.filtered = new Shapes(connection, toEvent);
  }

  append(event: NewEvent): Event {
    const id = this.insertRow.insert(
      event.atMs,
      event.kind,
      event.message,
      event.actor,
      event.requestId,
      event.reservation,
      event.address,
      event.mac,
      event.host,
      event.vmId,
      event.owner,
      encodeDetails(event.details),
    );
    return { ...event, id };
  }

  list(filter: EventFilter, after: number | undefined, limit: number): readonly Event[] {
    const where = new Where()
      .equals('address', filter.address)
      .equals('mac', filter.mac)
      .equals('vm_id', filter.vmId)
      .equals('owner', filter.owner)
      .equals('host', filter.host)
      .equals('reservation', filter.reservation)
      .anyOf('host', filter.hosts)
      .anyOf('vm_id', filter.vmIds)
      .above('id', after);
    addKinds(where, filter.kinds ?? []);
    const order = after === undefined ? 'DESC' : 'ASC';
    const query = this.filtered.for(`SELECT * FROM event ${where.clause()} ORDER BY id ${order} LIMIT ?`);
    const events = query.list(...where.params, limit);
    return after === undefined ? events.reverse() : events;
  }

  lastId(): number {
    return this.newest.find() ?? 0;
  }

  prune(beforeMs: number, limit: number): number {
    return this.deleteOld.run(beforeMs, limit);
  }
}

/** The rule of matchesFilter() in SQL: "lease." is every kind from "lease." up to, not including, "lease/". */
function addKinds(where: Where, kinds: readonly string[]): void {
  if (kinds.length === 0) return;
  const conditions = kinds.map((kind) => (kind.endsWith('.') ? '(kind >= ? AND kind < ?)' : 'kind = ?'));
  const params = kinds.flatMap((kind) => (kind.endsWith('.') ? [kind, `${kind.slice(0, -1)}/`] : [kind]));
  where.add(`(${conditions.join(' OR ')})`, ...params);
}

function encodeDetails(details: Event['details']): string | undefined {
  return details === undefined || Object.keys(details).length === 0 ? undefined : JSON.stringify(details);
}

function toEvent(row: Row): Event {
  return {
    id: row.id,
    atMs: row.at_ms,
    kind: row.kind,
    message: row.message,
    actor: row.actor,
    requestId: row.request_id ?? undefined,
    reservation: row.reservation ?? undefined,
    address: row.address === null ? undefined : ipv4FromNumber(row.address),
    mac: row.mac === null ? undefined : macFromNumber(row.mac),
    host: row.host ?? undefined,
    vmId: row.vm_id ?? undefined,
    owner: row.owner ?? undefined,
    details: row.details === null ? undefined : parseColumn(detailsColumn, row.details),
  };
}
