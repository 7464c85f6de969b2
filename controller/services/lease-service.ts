import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Ipv4 } from '../../shared/domain/ipv4.js';
import type { Mac } from '../../shared/domain/mac.js';
import type { Caller } from '../domain/caller.js';
import { unknownReservation } from '../domain/default-reservation.js';
import type { Event, EventFilter } from '../domain/event.js';
import type { Lease, LeaseOwner } from '../domain/lease.js';
import type { Reservation, ReservationId } from '../domain/reservation.js';
import type { Clock, RandomSource } from '../ports/environment.js';
import type { LeaseFilter, Tx } from '../ports/store.js';
import type { VmKnowledge } from '../ports/vm-knowledge.js';
import type { EventLog } from './event-log.js';
import { answerOnce } from './idempotency.js';
import type { Journal } from './journal.js';
import { LeaseAcquirer, type LeaseClaim } from './lease-acquirer.js';
import { LeaseChanger } from './lease-changer.js';
import { LeaseRegister } from './lease-register.js';
import { MacPicker, type IsMacObservedElsewhere } from './mac-picker.js';
import type { PoolIndex, ReservedPool } from './pool-index.js';

export interface LeaseServiceOptions {
  readonly journal: Journal;
  readonly events: EventLog;
  readonly pools: PoolIndex;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly knowledge: VmKnowledge;
  /** How long a released address rests, milliseconds; 1 h unless told. */
  readonly quarantineMs?: number | undefined;
  /** Unless told: nobody was seen with any. */
  readonly isMacObservedElsewhere?: IsMacObservedElsewhere | undefined;
}

/** A lease as it would be given. */
export interface Candidate {
  readonly address: Ipv4;
  /** `undefined`: a random one, since the one of the address is taken. */
  readonly mac: Mac | undefined;
}

/** An event of a lease, and the lease as it is when the event is read; `undefined` when it is free. */
export interface LeaseChange {
  readonly event: Event;
  readonly lease: Lease | undefined;
}

const QUARANTINE_MS = 3_600_000;
const BATCH = 1_000;

/**
 * Leases: one address and one MAC for one owner. What is returned is durable.
 *
 * The functions that end in `In` run in the caller's transaction: they are durable, or undone, with it.
 */
export class LeaseService {
  private readonly journal: Journal;
  private readonly events: EventLog;
  private readonly pools: PoolIndex;
  private readonly clock: Clock;
  private readonly knowledge: VmKnowledge;
  private readonly macs: MacPicker;
  private readonly acquirer: LeaseAcquirer;
  /** For the sweeper and reservations, which change leases too. */
  readonly changer: LeaseChanger;

  constructor(options: LeaseServiceOptions) {
    const { journal, events, pools, clock, knowledge, quarantineMs } = options;
    this.journal = journal;
    this.events = events;
    this.pools = pools;
    this.clock = clock;
    this.knowledge = knowledge;
    this.macs = new MacPicker(options);
    const register = new LeaseRegister({ events, pools, clock, knowledge });
    this.acquirer = new LeaseAcquirer({ register, macs: this.macs, pools, clock });
    this.changer = new LeaseChanger({ register, pools, clock, knowledge, quarantineMs: quarantineMs ?? QUARANTINE_MS });
  }

  /**
   * One lease for each claim, in their order, all or none. An owner that holds one, or whose one rests, gets that.
   *
   * @param reservation name; empty or `undefined`: the only active one
   * @param ttlMs pending for so long, 1 or more; `undefined`: bound at once, a pending one that the owner holds included
   * @throws {AppError} `not_found` (reservation); `invalid` (address outside the pool or excluded); `already_exists` (address
   *   or MAC held: details `by`); `wrong_state` (reservation over, or the owner holds another one); `exhausted` (details
   *   `size`, `held`, `by`, `nextFreeAt`)
   */
  acquire(
    claims: readonly LeaseClaim[],
    reservation: string | undefined,
    ttlMs: number | undefined,
    caller: Caller,
  ): Promise<readonly Lease[]> {
    return this.once(caller, (tx) => {
      const pool = this.pools.choose(reservation, this.clock.nowMs());
      return this.acquirer.acquire(tx, claims, pool, ttlMs, caller);
    });
  }

  /** Pending -> bound; bound ones stay as they are. @throws {AppError} `not_found`, `wrong_state` */
  bind(addresses: readonly Ipv4[], caller: Caller): Promise<readonly Lease[]> {
    return this.once(caller, (tx) => this.bindIn(tx, addresses, caller));
  }

  /** Pending ones end `ttlMs` from now. @throws {AppError} `not_found`, `wrong_state` if one is not pending */
  extend(addresses: readonly Ipv4[], ttlMs: number, caller: Caller): Promise<readonly Lease[]> {
    return this.once(caller, (tx) => addresses.map((address) => this.changer.extend(tx, address, ttlMs, caller)));
  }

  /**
   * To quarantine, all or none; resting ones stay as they are.
   *
   * @param force although the VM is not known to be stopped
   * @throws {AppError} `not_found`, `wrong_state`
   */
  release(addresses: readonly Ipv4[], force: boolean, caller: Caller): Promise<readonly Lease[]> {
    return this.once(caller, (tx) => this.releaseIn(tx, addresses, caller, { force }));
  }

  /** The wire says that somebody else has it. @throws {AppError} `not_found` */
  decline(address: Ipv4, seenMac: Mac | undefined, caller: Caller): Promise<Lease> {
    return this.once(caller, (tx) => this.declineIn(tx, address, seenMac, caller));
  }

  /**
   * What the next claims would get, if nobody comes before them.
   *
   * @throws {AppError} `not_found`, `exhausted` if fewer than `count` are free
   */
  next(reservation: string | undefined, count: number): { reservation: Reservation; candidates: Candidate[] } {
    const pool = this.pools.choose(reservation, this.clock.nowMs());
    return this.journal.read((stores) => {
      const addresses = pool.peek(count);
      if (addresses.length < count) this.acquirer.refuseFull(stores, pool, count);
      const candidates = addresses.map((address) => ({ address, mac: this.macs.preview(stores, address) }));
      return { reservation: pool.reservation, candidates };
    });
  }

  /** By address, in batches of at most 1,000; each batch as it is when it is read. */
  async *list(filter: LeaseFilter): AsyncGenerator<readonly Lease[]> {
    let after: Ipv4 | undefined;
    for (;;) {
      const batch = this.journal.read((stores) => stores.leases.list(filter, after, BATCH));
      if (batch.length > 0) yield batch;
      if (batch.length < BATCH) return;
      after = batch.at(-1)?.address;
      // A reader that is never slow would keep everybody else waiting.
      await nextTurn();
    }
  }

  /** Everything that happened to an address, a MAC, an owner or a VM: the newest `limit`, oldest first. */
  history(filter: EventFilter, limit: number): readonly Event[] {
    return this.events.list(filter, undefined, limit);
  }

  /** @throws {AppError} as {@link EventLog.subscribe}; `not_found` for an unknown reservation */
  watch(reservation: string | undefined, afterId: number | undefined, signal: AbortSignal): AsyncIterable<LeaseChange> {
    const name = reservation === undefined ? undefined : this.getPool(reservation).reservation.name;
    const events = this.events.subscribe({ kinds: ['lease.'], reservation: name }, afterId, signal);
    return this.withLeases(events);
  }

  acquireIn(
    tx: Tx,
    claims: readonly LeaseClaim[],
    reservation: Reservation,
    ttlMs: number | undefined,
    caller: Caller,
  ): Lease[] {
    return this.acquirer.acquire(tx, claims, this.getPool(reservation.name), ttlMs, caller);
  }

  /** The lease that {@link acquireIn} would return again or revive; what {@link undoIn} wants as `before`. */
  findBeforeIn(tx: Tx, claim: LeaseClaim, reservation: Reservation): Lease | undefined {
    return this.acquirer.findBefore(tx, claim, reservation.id);
  }

  bindIn(tx: Tx, addresses: readonly Ipv4[], caller: Caller): Lease[] {
    return addresses.map((address) => this.changer.bind(tx, address, caller));
  }

  releaseIn(tx: Tx, addresses: readonly Ipv4[], caller: Caller, options: { readonly force: boolean }): Lease[] {
    return addresses.map((address) => this.changer.release(tx, address, caller, options.force));
  }

  declineIn(tx: Tx, address: Ipv4, seenMac: Mac | undefined, caller: Caller): Lease {
    return this.changer.decline(tx, address, seenMac, caller);
  }

  /**
   * Takes back an acquired lease whose owner was never told: a fresh one is gone at once, a revived one rests again. Does
   * nothing if the lease was bound, released or swept since.
   *
   * @param before what {@link findBeforeIn} found
   */
  undoIn(tx: Tx, before: Lease | undefined, lease: Lease, caller: Caller): void {
    this.changer.undo(tx, before, lease, caller);
  }

  /** Empty if the reservation is gone: an answer that is repeated may be older. */
  reservationName(id: ReservationId): string {
    return this.pools.findById(id)?.reservation.name ?? '';
  }

  /** For people. */
  describeOwner(owner: LeaseOwner): string {
    return this.knowledge.describeOwner(owner);
  }

  /** @throws {AppError} `not_found` */
  reservationId(name: string): ReservationId {
    return this.getPool(name).reservation.id;
  }

  private once<T>(caller: Caller, work: (tx: Tx) => T): Promise<T> {
    return this.journal.submit((tx) => answerOnce(tx, caller, this.clock.nowMs(), () => work(tx)));
  }

  private getPool(name: string): ReservedPool {
    const pool = this.pools.findByName(name);
    if (pool !== undefined) return pool;
    throw unknownReservation(
      name,
      this.pools.list().map((one) => one.reservation),
    );
  }

  private async *withLeases(events: AsyncIterable<Event>): AsyncGenerator<LeaseChange> {
    for await (const event of events) yield { event, lease: this.leaseOf(event) };
  }

  private leaseOf({ address }: Event): Lease | undefined {
    return address === undefined ? undefined : this.journal.read((stores) => stores.leases.findByAddress(address));
  }
}
