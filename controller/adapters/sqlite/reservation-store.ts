import { notFound } from '../../../shared/errors.js';
import type { Reservation, ReservationData, ReservationId, ReservationSource } from '../../domain/reservation.js';
import type { ReservationStore } from '../../ports/store.js';
import type { Change, Connection, Select, SqlValue } from './connection.js';
import { parseColumn, rangesColumn, settingsColumn } from './json-column.js';

interface Row {
  readonly id: number;
  readonly name: string;
  readonly source: ReservationSource;
  readonly user: string | null;
  readonly site: string | null;
  readonly job_id: string | null;
  readonly starts_at_ms: number;
  readonly ends_at_ms: number;
  readonly settings: string;
  readonly ranges: string;
  readonly exclusions: string;
}

/** The columns that cost something to read. */
interface Parsed {
  readonly row: Row;
  readonly value: Pick<Reservation, 'settings' | 'ranges' | 'exclusions'>;
}

export class SqliteReservationStore implements ReservationStore {
  private readonly insertRow: Change;
  private readonly updateRow: Change;
  private readonly deleteRow: Change;
  private readonly byName: Select<Row, Reservation>;
  private readonly byId: Select<Row, Reservation>;
  private readonly all: Select<Row, Reservation>;
  // A reservation is read at each lease, and one of a whole /14 has 256 ranges: what has the same text is parsed once.
  private readonly parsed = new Map<ReservationId, Parsed>();

  constructor(connection: Connection) {
    const decode = (row: Row): Reservation => toReservation(row, this.parse(row));
    this.insertRow = connection.change(
      `INSERT INTO reservation
         (name, source, user, site, job_id, starts_at_ms, ends_at_ms, settings, ranges, exclusions)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    );
    this.updateRow = connection.change(
      `UPDATE reservation SET (name, source, user, site, job_id, starts_at_ms, ends_at_ms, settings, ranges, exclusions)
         = (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) WHERE id = ?`,
    );
    this.deleteRow = connection.change('DELETE FROM reservation WHERE id = ?');
    this.byName = connection.select('SELECT * FROM reservation WHERE name = ?', decode);
    this.byId = connection.select('SELECT * FROM reservation WHERE id = ?', decode);
    this.all = connection.select('SELECT * FROM reservation ORDER BY starts_at_ms, name', decode);
  }

  insert(data: ReservationData): Reservation {
    return { ...data, id: this.insertRow.insert(...toColumns(data)) };
  }

  update(reservation: Reservation): void {
    if (this.updateRow.run(...toColumns(reservation), reservation.id) === 1) return;
    throw notFound(`reservation ${reservation.name} is not known`, { reservation: reservation.name });
  }

  remove(id: ReservationId): void {
    this.deleteRow.run(id);
    this.parsed.delete(id);
  }

  findByName(name: string): Reservation | undefined {
    return this.byName.find(name);
  }

  findById(id: ReservationId): Reservation | undefined {
    return this.byId.find(id);
  }

  list(): readonly Reservation[] {
    return this.all.list();
  }

  private parse(row: Row): Parsed['value'] {
    const known = this.parsed.get(row.id);
    if (known !== undefined && hasSameText(known.row, row)) return known.value;
    const value = {
      settings: parseColumn(settingsColumn, row.settings),
      ranges: parseColumn(rangesColumn, row.ranges),
      exclusions: parseColumn(rangesColumn, row.exclusions),
    };
    this.parsed.set(row.id, { row, value });
    return value;
  }
}

function hasSameText(a: Row, b: Row): boolean {
  return a.ranges === b.ranges && a.exclusions === b.exclusions && a.settings === b.settings;
}

function toColumns(data: ReservationData): SqlValue[] {
  return [
    data.name,
    data.source,
    data.user,
    data.site,
    data.jobId,
    data.startsAtMs,
    data.endsAtMs,
    JSON.stringify(data.settings),
    JSON.stringify(data.ranges),
    JSON.stringify(data.exclusions),
  ];
}

function toReservation(row: Row, value: Parsed['value']): Reservation {
  return {
    id: row.id,
    name: row.name,
    source: row.source,
    user: row.user ?? undefined,
    site: row.site ?? undefined,
    jobId: row.job_id ?? undefined,
    startsAtMs: row.starts_at_ms,
    endsAtMs: row.ends_at_ms,
    ...value,
  };
}
