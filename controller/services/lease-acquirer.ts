import { formatIpv4, type Ipv4 } from '../../shared/domain/ipv4.js';
import { formatMac, type Mac } from '../../shared/domain/mac.js';
import type { Caller } from '../domain/caller.js';
import { formatInstant } from '../domain/instant.js';
import { ownerKey, type Lease, type LeaseOwner, type NewLease } from '../domain/lease.js';
import { whyNotInPool } from '../domain/pool.js';
import { phaseOf, type ReservationId } from '../domain/reservation.js';
import type { Clock } from '../ports/environment.js';
import type { MacReason, Stores, Tx } from '../ports/store.js';
import type { ChangeNote, LeaseRegister } from './lease-register.js';
import {
  addressHeld,
  addressNotInPool,
  holdsAnother,
  poolFull,
  reservationOver,
  type PoolState,
} from './lease-refusal.js';
import type { MacPicker, PickedMac } from './mac-picker.js';
import type { PoolIndex, ReservedPool } from './pool-index.js';

export interface LeaseClaim {
  readonly owner: LeaseOwner;
  /** `undefined`: the next free one. */
  readonly address?: Ipv4 | undefined;
  /** `undefined`: the one of the address. */
  readonly mac?: Mac | undefined;
}

export interface LeaseAcquirerOptions {
  readonly register: LeaseRegister;
  readonly macs: MacPicker;
  readonly pools: PoolIndex;
  readonly clock: Clock;
}

/** One request on its way: all its claims go to one pool. */
interface Request {
  readonly tx: Tx;
  readonly pool: ReservedPool;
  readonly caller: Caller;
  readonly nowMs: number;
  /** `undefined`: bound at once. */
  readonly expiresAtMs: number | undefined;
  readonly wanted: number;
}

const TOP_OWNERS = 3;
/** Counting the owners of a large pool takes tens of milliseconds, and those who find it full come in crowds. */
const FULL_KEPT_MS = 5_000;

/** Gives leases: the one its owner has, the one that rests for it, the chosen one, or the next free one. */
export class LeaseAcquirer {
  private readonly register: LeaseRegister;
  private readonly macs: MacPicker;
  private readonly pools: PoolIndex;
  private readonly clock: Clock;
  private readonly fullPools = new Map<ReservationId, { readonly atMs: number; readonly topOwners: string }>();

  constructor({ register, macs, pools, clock }: LeaseAcquirerOptions) {
    this.register = register;
    this.macs = macs;
    this.pools = pools;
    this.clock = clock;
  }

  /**
   * @param ttlMs pending for so long; `undefined`: bound at once
   * @throws {AppError} as LeaseService.acquire
   */
  acquire(
    tx: Tx,
    claims: readonly LeaseClaim[],
    pool: ReservedPool,
    ttlMs: number | undefined,
    caller: Caller,
  ): Lease[] {
    const nowMs = this.clock.nowMs();
    if (phaseOf(pool.reservation, nowMs) === 'over') throw reservationOver(pool.reservation);
    const expiresAtMs = ttlMs === undefined ? undefined : nowMs + ttlMs;
    const request: Request = { tx, pool, caller, nowMs, expiresAtMs, wanted: claims.length };
    return claims.map((claim) => this.acquireOne(request, claim));
  }

  /** The lease that a claim would get again: held, or resting and not at odds with what is chosen. */
  findBefore(stores: Stores, claim: LeaseClaim, reservationId: ReservationId): Lease | undefined {
    const key = ownerKey(claim.owner);
    const held = stores.leases.findHeld(reservationId, key);
    if (held !== undefined) return held;
    if (claim.address === undefined) return stores.leases.findResting(reservationId, key);
    const there = stores.leases.findByAddress(claim.address);
    const isOwn = there?.reservationId === reservationId && ownerKey(there.owner) === key;
    return isOwn && there.state === 'quarantined' ? there : undefined;
  }

  /** @throws {AppError} `exhausted` with what is known of the pool */
  refuseFull(stores: Stores, pool: ReservedPool, wanted: number): never {
    throw poolFull(pool.reservation, wanted, this.describeFull(stores, pool));
  }

  private acquireOne(request: Request, claim: LeaseClaim): Lease {
    const before = this.findBefore(request.tx, claim, request.pool.reservation.id);
    if (before === undefined) return this.acquireFresh(request, claim);
    return before.state === 'quarantined' ? this.revive(request, claim, before) : this.keep(request, claim, before);
  }

  private keep({ tx, caller, expiresAtMs }: Request, claim: LeaseClaim, held: Lease): Lease {
    const by = this.register.ownerOf(held);
    if (claim.address !== undefined && claim.address !== held.address) {
      throw holdsAnother(held, formatIpv4(claim.address), by);
    }
    if (claim.mac !== undefined && claim.mac !== held.mac) throw holdsAnother(held, formatMac(claim.mac), by);
    // Who asks without a TTL will not bind it: left pending it would be freed under its feet.
    if (held.state === 'bound' || expiresAtMs !== undefined) return held;
    const note = { kind: 'lease.bound', text: `bound to ${by}` };
    return this.register.update(tx, held, { state: 'bound', expiresAtMs: undefined }, caller, note);
  }

  private revive(request: Request, claim: LeaseClaim, resting: Lease): Lease {
    const { tx, caller, pool, expiresAtMs } = request;
    // An exclusion of today, or a smaller pool: what rests there is not given any more.
    if (pool.position(resting.address) === undefined) return this.acquireFresh(request, claim);
    const state = stateFor(expiresAtMs);
    const note = this.note('lease.revived', `leased again to ${this.register.ownerOf(resting)}`, expiresAtMs);
    if (claim.mac === undefined || claim.mac === resting.mac) {
      return this.register.update(tx, resting, { state, expiresAtMs }, caller, note);
    }
    const { mac, reason } = this.macs.take(tx, claim.owner, claim.mac);
    return this.register.updateMac(tx, resting, { state, expiresAtMs, mac }, reason, caller, note);
  }

  private acquireFresh(request: Request, claim: LeaseClaim): Lease {
    const { tx, pool, caller, nowMs, expiresAtMs } = request;
    const address = claim.address === undefined ? this.nextAddress(request) : this.chosen(request, claim.address);
    const picked = this.pickMac(tx, claim, address);
    const fresh: NewLease = {
      reservationId: pool.reservation.id,
      address,
      mac: picked.mac,
      owner: claim.owner,
      state: stateFor(expiresAtMs),
      createdAtMs: nowMs,
      changedAtMs: nowMs,
      expiresAtMs,
    };
    const note = this.note('lease.acquired', `leased to ${this.register.ownerOf(fresh)}`, expiresAtMs);
    const lease = this.register.insert(tx, fresh, picked.reason, caller, note);
    if (picked.clash !== undefined) this.recordClash(tx, lease, picked.clash, picked.reason, caller);
    return lease;
  }

  private pickMac(tx: Tx, claim: LeaseClaim, address: Ipv4): PickedMac {
    return claim.mac === undefined
      ? this.macs.pick(tx, claim.owner, address)
      : this.macs.take(tx, claim.owner, claim.mac);
  }

  private nextAddress({ tx, pool, wanted }: Request): Ipv4 {
    return this.pools.next(tx, pool) ?? this.refuseFull(tx, pool, wanted);
  }

  private chosen({ tx, pool }: Request, address: Ipv4): Ipv4 {
    const why = whyNotInPool(pool.pool, address);
    if (why !== undefined) throw addressNotInPool(address, why, pool.reservation);
    const there = tx.leases.findByAddress(address);
    if (there !== undefined) throw addressHeld(there, this.register.ownerOf(there));
    return address;
  }

  private recordClash(tx: Tx, lease: Lease, clash: Mac, reason: MacReason, caller: Caller): void {
    const entry = tx.macs.find(clash);
    const by = entry === undefined ? 'another VM' : this.macs.describe(entry.owner);
    const text = `got a ${reason} MAC: ${formatMac(clash)}, which belongs to the address, is held by ${by}`;
    this.register.record(tx, lease, caller, { kind: 'mac.clashed', text, details: { clash: formatMac(clash), by } });
  }

  private note(kind: string, text: string, expiresAtMs: number | undefined): ChangeNote {
    if (expiresAtMs === undefined) return { kind, text };
    const until = formatInstant(expiresAtMs);
    return { kind, text: `${text}, pending until ${until}`, details: { until } };
  }

  private describeFull(stores: Stores, pool: ReservedPool): PoolState {
    const id = pool.reservation.id;
    return {
      size: pool.pool.size,
      held: pool.bitmap.usedCount,
      topOwners: this.topOwners(stores, id),
      nextFreeAtMs: stores.leases.nextEnd(id),
    };
  }

  private topOwners(stores: Stores, id: ReservationId): string {
    const nowMs = this.clock.nowMs();
    const known = this.fullPools.get(id);
    if (known !== undefined && nowMs - known.atMs < FULL_KEPT_MS) return known.topOwners;
    const owners = stores.leases.topOwners(id, TOP_OWNERS);
    const topOwners = owners.map(({ owner, count }) => `${this.macs.describe(owner)} (${String(count)})`).join(', ');
    this.fullPools.set(id, { atMs: nowMs, topOwners });
    return topOwners;
  }
}

function stateFor(expiresAtMs: number | undefined): 'pending' | 'bound' {
  return expiresAtMs === undefined ? 'bound' : 'pending';
}
