import type { Ipv4 } from '../../../shared/domain/ipv4.js';
import type { Mac } from '../../../shared/domain/mac.js';
import { AppError } from '../../../shared/errors.js';
import {
  LEASE_STATES,
  ownerKey,
  type Lease,
  type LeaseId,
  type LeaseState,
  type NewLease,
  type OwnerKey,
  type VmId,
} from '../../domain/lease.js';
import type { ReservationId } from '../../domain/reservation.js';
import type { LeaseFilter, LeaseStore } from '../../ports/store.js';
import { Shapes, type Change, type Column, type Connection, type Select } from './connection.js';
import { toLease, type LeaseRow } from './lease-row.js';
import { Where } from './where.js';

interface StateCount {
  readonly state: LeaseState;
  readonly count: number;
}

interface OwnerCount {
  readonly owner: OwnerKey;
  readonly count: number;
}

export class SqliteLeaseStore implements LeaseStore {
  private readonly insertRow: Change;
  private readonly updateRow: Change;
  private readonly deleteRow: Change;
  private readonly byId: Select<LeaseRow, Lease>;
  private readonly byAddress: Select<LeaseRow, Lease>;
  private readonly byMac: Select<LeaseRow, Lease>;
  private readonly held: Select<LeaseRow, Lease>;
  private readonly resting: Select<LeaseRow, Lease>;
  private readonly byOwners: Select<LeaseRow, Lease>;
  private readonly due: Select<LeaseRow, Lease>;
  private readonly overdue: Select<LeaseRow, Lease>;
  private readonly addresses: Column<Ipv4>;
  private readonly states: Select<StateCount, StateCount>;
  private readonly owners: Select<OwnerCount, OwnerCount>;
  private readonly firstEnd: Column<number>;
  private readonly filtered: Shapes<LeaseRow, Lease>;

  constructor(connection: Connection) {
    const leases = (clause: string): Select<LeaseRow, Lease> =>
      connection.select(`SELECT lease.* FROM lease ${clause}`, toLease);
    this.insertRow = connection.change(
      `INSERT INTO lease
         (reservation_id, address, mac, owner, state, revision, created_at_ms, changed_at_ms, expires_at_ms)
       VALUES (?, ?, ?, ?, ?, 1, ?, ?, ?)`,
    );
    this.updateRow = connection.change(
      `UPDATE lease SET (mac, owner, state, changed_at_ms, expires_at_ms, revision) = (?, ?, ?, ?, ?, revision + 1)
       WHERE id = ? AND revision = ?`,
    );
    this.deleteRow = connection.change('DELETE FROM lease WHERE id = ?');
    this.byId = leases('WHERE id = ?');
    this.byAddress = leases('WHERE address = ?');
    this.byMac = leases('WHERE mac = ?');
    this.held = leases(`WHERE reservation_id = ? AND owner = ? AND state IN ('pending', 'bound')`);
    // SQLite would rather take the index by state, and read every resting lease of the reservation.
    this.resting = leases(
      `INDEXED BY lease_owner WHERE owner = ? AND reservation_id = ? AND state = 'quarantined' ORDER BY changed_at_ms DESC, id DESC LIMIT 1`,
    );
    this.byOwners = leases('WHERE owner >= ? AND owner < ? ORDER BY owner, id');
    this.due = leases('WHERE expires_at_ms <= ? ORDER BY expires_at_ms LIMIT ?');
    this.overdue = leases(
      `JOIN reservation ON reservation.id = lease.reservation_id
       WHERE reservation.ends_at_ms <= ? AND lease.state IN ('pending', 'bound') LIMIT ?`,
    );
    this.addresses = connection.column('SELECT address FROM lease WHERE address BETWEEN ? AND ? ORDER BY address');
    this.states = connection.select(
      'SELECT state, count(*) AS count FROM lease WHERE reservation_id = ? GROUP BY state',
      (row) => row,
    );
    // The index holds all that is asked for; the ones on reservation_id would lead to every row of a large pool.
    this.owners = connection.select(
      `SELECT owner, count(*) AS count FROM lease INDEXED BY lease_owner WHERE reservation_id = ?
       GROUP BY owner ORDER BY count DESC, owner LIMIT ?`,
      (row) => row,
    );
    this.firstEnd = connection.column(
      `SELECT expires_at_ms FROM lease INDEXED BY lease_end WHERE reservation_id = ? AND expires_at_ms IS NOT NULL
       ORDER BY expires_at_ms LIMIT 1`,
    );
    this.filtered = new Shapes(connection, toLease);
  }

  insert(lease: NewLease): Lease {
    const id = this.insertRow.insert(
      lease.reservationId,
      lease.address,
      lease.mac,
      ownerKey(lease.owner),
      lease.state,
      lease.createdAtMs,
      lease.changedAtMs,
      lease.expiresAtMs,
    );
    return { ...lease, id, revision: 1 };
  }

  update(lease: Lease): Lease {
    const { mac, state, changedAtMs, expiresAtMs, id, revision } = lease;
    const changes = this.updateRow.run(mac, ownerKey(lease.owner), state, changedAtMs, expiresAtMs, id, revision);
    if (changes === 1) return { ...lease, revision: revision + 1 };
    throw new AppError('raced', `lease ${String(id)} was changed by another request`, {
      lease: String(id),
      hint: 'try the whole call again',
    });
  }

  remove(id: LeaseId): void {
    this.deleteRow.run(id);
  }

  findById(id: LeaseId): Lease | undefined {
    return this.byId.find(id);
  }

  findByAddress(address: Ipv4): Lease | undefined {
    return this.byAddress.find(address);
  }

  findByMac(mac: Mac): Lease | undefined {
    return this.byMac.find(mac);
  }

  findHeld(reservationId: ReservationId, owner: OwnerKey): Lease | undefined {
    return this.held.find(reservationId, owner);
  }

  findResting(reservationId: ReservationId, owner: OwnerKey): Lease | undefined {
    return this.resting.find(owner, reservationId);
  }

  listByVm(vmId: VmId): readonly Lease[] {
    // "0" follows "/" in ASCII: every vif of this VM, and of no other, sorts between the two.
    return this.byOwners.list(`vif:${String(vmId)}/`, `vif:${String(vmId)}0`);
  }

  list(filter: LeaseFilter, after: Ipv4 | undefined, limit: number): readonly Lease[] {
    const where = new Where()
      .equals('reservation_id', filter.reservationId)
      .equals('address', filter.address)
      .equals('mac', filter.mac)
      .above('address', after);
    // `+` keeps SQLite off the index by state, whose order would have to be sorted again for every page.
    if (filter.states !== undefined) where.oneOf('+state', filter.states);
    const query = this.filtered.for(`SELECT * FROM lease ${where.clause()} ORDER BY address LIMIT ?`);
    return query.list(...where.params, limit);
  }

  listDue(nowMs: number, limit: number): readonly Lease[] {
    return this.due.list(nowMs, limit);
  }

  listOverdue(nowMs: number, limit: number): readonly Lease[] {
    return this.overdue.list(nowMs, limit);
  }

  addressesBetween(first: Ipv4, last: Ipv4): readonly Ipv4[] {
    // The CHECK of the column is what ipv4FromNumber() would look at, and there may be 262,144 of them.
    return this.addresses.list(first, last);
  }

  countByState(reservationId: ReservationId): Readonly<Record<LeaseState, number>> {
    const counts = new Map(this.states.list(reservationId).map(({ state, count }) => [state, count]));
    return Object.fromEntries(LEASE_STATES.map((state) => [state, counts.get(state) ?? 0])) as Record<
      LeaseState,
      number
    >;
  }

  topOwners(reservationId: ReservationId, limit: number): readonly OwnerCount[] {
    return this.owners.list(reservationId, limit);
  }

  nextEnd(reservationId: ReservationId): number | undefined {
    return this.firstEnd.find(reservationId);
  }
}
