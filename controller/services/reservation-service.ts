import { formatRange } from '../../shared/domain/address-range.js';
import { formatIpv4 } from '../../shared/domain/ipv4.js';
import { invalid, wrongState, type AppError } from '../../shared/errors.js';
import type { Caller } from '../domain/caller.js';
import { parseG5kJob } from '../domain/g5k-api.js';
import { formatInstant } from '../domain/instant.js';
import { LEASE_STATES, type Lease, type LeaseState } from '../domain/lease.js';
import { describeBlocks } from '../domain/pool.js';
import { phaseOf, type Reservation, type ReservationData, type ReservationPhase } from '../domain/reservation.js';
import {
  checkPeriod,
  isSameReservation,
  lostRanges,
  planName,
  planReservation,
  refuseOverlap,
  type ImportOptions,
  type ImportSource,
  type ReservationPlan,
} from '../domain/reservation-plan.js';
import { parseSubnetText } from '../domain/subnet-text.js';
import type { Clock } from '../ports/environment.js';
import type { Stores, Tx } from '../ports/store.js';
import type { EventLog } from './event-log.js';
import { answerOnce } from './idempotency.js';
import type { Journal } from './journal.js';
import type { LeaseService } from './lease-service.js';
import { ReservedPool, type PoolIndex } from './pool-index.js';

export interface ReservationServiceOptions {
  readonly journal: Journal;
  readonly events: EventLog;
  readonly pools: PoolIndex;
  readonly leases: LeaseService;
  readonly clock: Clock;
}

/** A reservation, and how much of it is in use. */
export interface ReservationView {
  readonly data: ReservationData;
  readonly phase: ReservationPhase;
  /** Addresses that can be leased, in any state. */
  readonly size: number;
  /** Less than `size` minus the leases where another reservation's lease is on the same address. */
  readonly free: number;
  readonly leases: Readonly<Record<LeaseState, number>>;
}

export interface ImportRequest {
  /** What the testbed printed. */
  readonly text: string;
  readonly options: ImportOptions;
  /** Answers what would be kept, and changes nothing. */
  readonly isDryRun: boolean;
}

export type ImportChange = 'none' | 'created' | 'updated';

export interface ImportResult {
  readonly view: ReservationView;
  readonly warnings: readonly string[];
  readonly change: ImportChange;
}

/** States that a reservation cannot be deleted or cut under. */
const LIVE: readonly LeaseState[] = ['pending', 'bound', 'expired'];
/** Leases freed in one transaction: a hundred milliseconds at most. */
const SLICE = 1_000;

/** Reservations: which addresses are the user's, from when to when. What is returned is durable. */
export class ReservationService {
  private readonly journal: Journal;
  private readonly events: EventLog;
  private readonly pools: PoolIndex;
  private readonly leases: LeaseService;
  private readonly clock: Clock;

  constructor({ journal, events, pools, leases, clock }: ReservationServiceOptions) {
    this.journal = journal;
    this.events = events;
    this.pools = pools;
    this.leases = leases;
    this.clock = clock;
  }

  /**
   * Idempotent: the same content under the same name changes nothing.
   *
   * @throws {AppError} `invalid` (malformed: details `line`; name, end or settings missing); `already_exists` (another
   *   reservation has the addresses at that time); `wrong_state` (over already; leases outside of what is left)
   */
  async import(request: ImportRequest, caller: Caller): Promise<ImportResult> {
    const source = parseSource(request.text);
    if (request.isDryRun) return this.journal.read((stores) => this.preview(stores, source, request.options));
    return this.once(caller, (tx) => this.importIn(tx, source, request.options, caller));
  }

  /** By start, then name. */
  list(): readonly ReservationView[] {
    return this.journal.read((stores) => this.pools.list().map((pool) => this.view(stores, pool)));
  }

  /** @param name empty: the only active one @throws {AppError} `not_found`; `invalid` if several are meant */
  get(name: string): ReservationView {
    return this.journal.read((stores) => this.view(stores, this.choose(name)));
  }

  /**
   * Moves the end, either way. Leases that expired with the old one are bound again.
   *
   * @param endsAtMs milliseconds since 1970, exclusive
   * @throws {AppError} `not_found`; `invalid` (before the start, or past); `already_exists` (overlap)
   */
  extend(name: string, endsAtMs: number, caller: Caller): Promise<ReservationView> {
    return this.once(caller, (tx) => {
      const { reservation } = this.choose(name);
      checkPeriod(reservation.startsAtMs, endsAtMs);
      if (endsAtMs <= this.clock.nowMs()) throw pastEnd(endsAtMs);
      const data = { ...reservation, endsAtMs };
      if (endsAtMs === reservation.endsAtMs) return this.view(tx, this.choose(name));
      refuseOverlap(data, this.others(name));
      const pool = this.update(tx, data, caller);
      this.record(tx, data, caller, 'reservation.extended', `ends at ${formatInstant(endsAtMs)} now`);
      return this.view(tx, pool);
    });
  }

  /**
   * Resting and declined leases go with it.
   *
   * @returns how many did
   * @throws {AppError} `not_found`; `wrong_state` while leases are pending, bound or expired
   */
  async delete(name: string, caller: Caller): Promise<number> {
    let dropped = 0;
    for (;;) {
      const before = dropped;
      const total = await this.journal.submit((tx) => this.deleteSlice(tx, name, before, caller));
      if (total !== undefined) return total;
      dropped += SLICE;
    }
  }

  private importIn(tx: Tx, source: ImportSource, options: ImportOptions, caller: Caller): ImportResult {
    const { before, plan, change } = this.plan(tx, source, options);
    const pool = this.keep(tx, plan.data, before, change, caller);
    return { view: this.view(tx, pool), warnings: plan.warnings, change };
  }

  private preview(stores: Stores, source: ImportSource, options: ImportOptions): ImportResult {
    const { before, plan, change } = this.plan(stores, source, options);
    const pool = new ReservedPool({ ...plan.data, id: before?.id ?? 0 }).loadUsed(stores);
    return { view: this.view(stores, pool), warnings: plan.warnings, change };
  }

  private plan(
    stores: Stores,
    source: ImportSource,
    options: ImportOptions,
  ): { before: Reservation | undefined; plan: ReservationPlan; change: ImportChange } {
    const name = planName(source, options);
    const before = this.pools.findByName(name)?.reservation;
    const plan = planReservation(name, source, options, before, this.clock.nowMs());
    refuseOverlap(plan.data, this.others(name));
    if (before === undefined) return { before, plan, change: 'created' };
    if (isSameReservation(before, plan.data)) return { before, plan, change: 'none' };
    this.refuseOrphans(stores, before, plan.data);
    return { before, plan, change: 'updated' };
  }

  private keep(
    tx: Tx,
    data: ReservationData,
    before: Reservation | undefined,
    change: ImportChange,
    caller: Caller,
  ): ReservedPool {
    if (before === undefined) {
      const pool = this.pools.put(tx, tx.reservations.insert(data));
      this.record(tx, data, caller, 'reservation.imported', `imported: ${summary(data, pool.pool.size)}`);
      return pool;
    }
    if (change === 'none') return this.choose(before.name);
    const pool = this.update(tx, { ...data, id: before.id }, caller);
    this.record(tx, data, caller, 'reservation.updated', `changed by an import: ${summary(data, pool.pool.size)}`);
    return pool;
  }

  private update(tx: Tx, reservation: Reservation, caller: Caller): ReservedPool {
    tx.reservations.update(reservation);
    const pool = this.pools.put(tx, reservation);
    const expired = listAll(tx, reservation, ['expired']);
    for (const lease of expired) this.leases.changer.renew(tx, lease, caller);
    return pool;
  }

  /** `undefined`: a slice of the resting leases is gone, and there are more. */
  private deleteSlice(tx: Tx, name: string, dropped: number, caller: Caller): number | undefined {
    const isAnswered = caller.requestId !== undefined && tx.requests.find(caller.requestId) !== undefined;
    const reservation = this.pools.findByName(name)?.reservation;
    if (!isAnswered && reservation !== undefined) {
      refuseLive(tx, reservation);
      const slice = tx.leases.list({ reservationId: reservation.id }, undefined, SLICE + 1);
      if (slice.length > SLICE) {
        this.drop(tx, slice.slice(0, SLICE), caller);
        return undefined;
      }
    }
    return answerOnce(tx, caller, this.clock.nowMs(), () => this.deleteLast(tx, name, dropped, caller));
  }

  private deleteLast(tx: Tx, name: string, dropped: number, caller: Caller): number {
    const { reservation } = this.choose(name);
    refuseLive(tx, reservation);
    const resting = listAll(tx, reservation, LEASE_STATES);
    this.drop(tx, resting, caller);
    tx.reservations.remove(reservation.id);
    this.pools.remove(tx, reservation.id);
    this.record(tx, reservation, caller, 'reservation.deleted', 'deleted');
    return dropped + resting.length;
  }

  private drop(tx: Tx, leases: readonly Lease[], caller: Caller): void {
    for (const lease of leases) this.leases.changer.free(tx, lease, caller, 'its reservation was deleted');
  }

  /** What is given away must stay in: the VMs on it do not know of an import. */
  private refuseOrphans(stores: Stores, before: Reservation, after: ReservationData): void {
    for (const range of lostRanges(before, after)) {
      for (const address of stores.leases.addressesBetween(range.first, range.last)) {
        const lease = stores.leases.findByAddress(address);
        if (lease?.reservationId !== before.id || !LIVE.includes(lease.state)) continue;
        throw orphan(before, lease, this.leases.describeOwner(lease.owner), formatRange(range));
      }
    }
  }

  private view(stores: Stores, pool: ReservedPool): ReservationView {
    const { reservation } = pool;
    const phase = phaseOf(reservation, this.clock.nowMs());
    const leases = stores.leases.countByState(reservation.id);
    return { data: withoutId(reservation), phase, size: pool.pool.size, free: pool.bitmap.freeCount, leases };
  }

  private choose(name: string): ReservedPool {
    return this.pools.choose(name, this.clock.nowMs());
  }

  private others(name: string): Reservation[] {
    return this.pools.list().flatMap(({ reservation }) => (reservation.name === name ? [] : [reservation]));
  }

  private record(tx: Tx, data: ReservationData, caller: Caller, kind: string, text: string): void {
    this.events.record(tx, {
      atMs: this.clock.nowMs(),
      kind,
      message: `reservation "${data.name}" ${text}`,
      actor: caller.actor,
      requestId: caller.requestId,
      reservation: data.name,
    });
  }

  private once<T>(caller: Caller, work: (tx: Tx) => T): Promise<T> {
    return this.journal.submit((tx) => answerOnce(tx, caller, this.clock.nowMs(), () => work(tx)));
  }
}

/** By shape: the API's JSON begins with a brace, and no line of the tools does. */
function parseSource(text: string): ImportSource {
  return /^\s*[[{]/.test(text) ? parseG5kJob(text) : parseSubnetText(text);
}

function listAll(stores: Stores, reservation: Reservation, states: readonly LeaseState[]): Lease[] {
  const all: Lease[] = [];
  for (;;) {
    const page = stores.leases.list({ reservationId: reservation.id, states }, all.at(-1)?.address, SLICE);
    all.push(...page);
    if (page.length < SLICE) return all;
  }
}

function refuseLive(stores: Stores, { id, name }: Reservation): void {
  const counts = stores.leases.countByState(id);
  const live = LIVE.filter((state) => counts[state] > 0).map((state) => `${String(counts[state])} ${state}`);
  if (live.length === 0) return;
  throw wrongState(`reservation "${name}" cannot be deleted: it has leases (${live.join(', ')})`, {
    reservation: name,
    leases: live.join(', '),
    hint: 'release them first; lease list shows whose they are',
  });
}

function orphan({ name }: Reservation, lease: Lease, by: string, range: string): AppError {
  const address = formatIpv4(lease.address);
  return wrongState(`reservation "${name}" cannot lose ${range}: ${address} is leased to ${by}`, {
    reservation: name,
    range,
    address,
    by,
    hint: `release ${address} first, or import under another name`,
  });
}

function pastEnd(endsAtMs: number): AppError {
  const endsAt = formatInstant(endsAtMs);
  return invalid(`${endsAt} is past: a reservation cannot end there`, { field: 'ends_at', endsAt });
}

function summary(data: ReservationData, size: number): string {
  const [first = '', ...more] = describeBlocks(data.ranges);
  const blocks = more.length === 0 ? first : `${first} and ${String(more.length)} more`;
  const period = `${formatInstant(data.startsAtMs)} to ${formatInstant(data.endsAtMs)}`;
  return `${blocks}, ${String(size)} addresses, ${period}`;
}

function withoutId(reservation: Reservation): ReservationData {
  const { name, source, user, site, jobId, startsAtMs, endsAtMs, settings, ranges, exclusions } = reservation;
  return { name, source, user, site, jobId, startsAtMs, endsAtMs, settings, ranges, exclusions };
}
