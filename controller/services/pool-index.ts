import { isMulticastMac, leasedMac, type Mac } from '../../shared/domain/mac.js';
import { ipv4FromNumber, type Ipv4 } from '../../shared/domain/ipv4.js';
import { AddressBitmap } from '../domain/address-bitmap.js';
import { defaultReservation, unknownReservation } from '../domain/default-reservation.js';
import { addressAt, buildPool, positionOf, type Pool } from '../domain/pool.js';
import { lostRanges } from '../domain/reservation-plan.js';
import type { Reservation, ReservationId } from '../domain/reservation.js';
import type { Stores, Tx } from '../ports/store.js';

const OCTET = 2 ** 24;

/** A reservation in memory: its pool, and which addresses of it have a lease, of whichever reservation. */
export class ReservedPool {
  readonly reservation: Reservation;
  readonly pool: Pool;
  readonly bitmap: AddressBitmap;
  /** Position of the address given last, so that a released one is not the next to be given. */
  cursor: number | undefined;
  private readonly first: number;
  private readonly last: number;

  /** @param same a pool of the very same addresses, whose bitmap goes on to be used */
  constructor(reservation: Reservation, same?: ReservedPool) {
    this.reservation = reservation;
    this.pool = same?.pool ?? buildPool(reservation.ranges, reservation.exclusions);
    this.bitmap = same?.bitmap ?? new AddressBitmap(this.pool.size);
    this.cursor = same?.cursor;
    this.first = this.pool.leasable[0]?.first ?? 0;
    this.last = this.pool.leasable.at(-1)?.last ?? -1;
  }

  /** `undefined` if the address cannot be leased here. */
  position(address: Ipv4): number | undefined {
    return address < this.first || address > this.last ? undefined : positionOf(this.pool, address);
  }

  /** Addresses that the next claims get, in that order; fewer than `count` if fewer are free. None is taken. */
  peek(count: number): Ipv4[] {
    return this.bitmap.nextFree(count, this.cursor).map((position) => addressAt(this.pool, position));
  }

  loadUsed(stores: Stores): this {
    const used =
      this.pool.size === 0 ? [] : stores.leases.addressesBetween(ipv4FromNumber(this.first), ipv4FromNumber(this.last));
    for (const address of used) {
      const position = positionOf(this.pool, address);
      if (position !== undefined) this.bitmap.use(position);
    }
    return this;
  }
}

/**
 * All reservations with their free addresses, in memory; the database is the journal.
 *
 * Invariants:
 * - An address is used in every pool that covers it exactly while it has a lease, of any reservation: an older one that is
 *   over may still block it.
 * - What changed in a part that is undone is undone here too (tx.onUndo), so memory is never ahead of the database.
 */
export class PoolIndex {
  private readonly pools = new Map<ReservationId, ReservedPool>();

  /** Reads everything; for the start, before anything is written. */
  static load(stores: Stores): PoolIndex {
    const index = new PoolIndex();
    for (const reservation of stores.reservations.list()) {
      index.pools.set(reservation.id, new ReservedPool(reservation).loadUsed(stores));
    }
    return index;
  }

  /** By start, then name. */
  list(): readonly ReservedPool[] {
    return [...this.pools.values()].sort((a, b) => byStart(a.reservation, b.reservation));
  }

  findById(id: ReservationId): ReservedPool | undefined {
    return this.pools.get(id);
  }

  findByName(name: string): ReservedPool | undefined {
    for (const pool of this.pools.values()) if (pool.reservation.name === name) return pool;
    return undefined;
  }

  /**
   * @param name empty or `undefined`: the only active reservation, else the only upcoming one
   * @throws {AppError} `not_found`; `invalid` if none is named and there are several
   */
  choose(name: string | undefined, nowMs: number): ReservedPool {
    const found =
      name === undefined || name === ''
        ? this.findById(defaultReservation(this.reservations(), nowMs).id)
        : this.findByName(name);
    if (found !== undefined) return found;
    throw unknownReservation(name ?? '', this.reservations());
  }

  /** Adds a reservation, or replaces the one of the same id. Its row is written already. */
  put(tx: Tx, reservation: Reservation): ReservedPool {
    const before = this.pools.get(reservation.id);
    const pool = successor(tx, before, reservation);
    this.pools.set(reservation.id, pool);
    tx.onUndo(() => {
      if (before === undefined) this.pools.delete(reservation.id);
      else this.pools.set(reservation.id, before);
    });
    return pool;
  }

  remove(tx: Tx, id: ReservationId): void {
    const before = this.pools.get(id);
    if (before === undefined) return;
    this.pools.delete(id);
    tx.onUndo(() => this.pools.set(id, before));
  }

  /** The address has a lease now. */
  use(tx: Tx, address: Ipv4): void {
    for (const { bitmap, position } of this.covering(address)) {
      if (bitmap.use(position)) tx.onUndo(() => bitmap.free(position));
    }
  }

  /** The address has no lease any more. */
  free(tx: Tx, address: Ipv4): void {
    for (const { bitmap, position } of this.covering(address)) {
      if (bitmap.free(position)) tx.onUndo(() => bitmap.use(position));
    }
  }

  /** The next free address of a pool by next-fit, and moves on; `undefined` if it is full. It is not taken yet. */
  next(tx: Tx, pool: ReservedPool): Ipv4 | undefined {
    const before = pool.cursor;
    const position = pool.bitmap.findFree(before);
    if (position === undefined) return undefined;
    pool.cursor = position;
    tx.onUndo(() => (pool.cursor = before));
    return addressAt(pool.pool, position);
  }

  /** Whether an address of some pool has this as its MAC, and may be leased later. */
  isPoolMac(mac: Mac): boolean {
    if (isMulticastMac(mac)) return false;
    for (const pool of this.pools.values()) {
      for (const top of topOctets(pool.pool)) {
        const address = ipv4FromNumber(top * OCTET + (mac % OCTET));
        if (leasedMac(address) === mac && pool.position(address) !== undefined) return true;
      }
    }
    return false;
  }

  private reservations(): Reservation[] {
    return this.list().map(({ reservation }) => reservation);
  }

  private covering(address: Ipv4): { bitmap: AddressBitmap; position: number }[] {
    const found: { bitmap: AddressBitmap; position: number }[] = [];
    for (const pool of this.pools.values()) {
      const position = pool.position(address);
      if (position !== undefined) found.push({ bitmap: pool.bitmap, position });
    }
    return found;
  }
}

function successor(stores: Stores, before: ReservedPool | undefined, reservation: Reservation): ReservedPool {
  if (before !== undefined && hasSameAddresses(before.reservation, reservation)) {
    return new ReservedPool(reservation, before);
  }
  const pool = new ReservedPool(reservation).loadUsed(stores);
  if (before?.cursor !== undefined) pool.cursor = pool.position(addressAt(before.pool, before.cursor));
  return pool;
}

function hasSameAddresses(a: Reservation, b: Reservation): boolean {
  return lostRanges(a, b).length === 0 && lostRanges(b, a).length === 0;
}

function topOctets(pool: Pool): Set<number> {
  const tops = new Set<number>();
  for (const { first, last } of pool.leasable) {
    for (let top = Math.floor(first / OCTET); top <= Math.floor(last / OCTET); top++) tops.add(top);
  }
  return tops;
}

function byStart(a: Reservation, b: Reservation): number {
  return a.startsAtMs - b.startsAtMs || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);
}
