import type { Ipv4 } from '../../shared/domain/ipv4.js';
import { formatMac, type Mac } from '../../shared/domain/mac.js';
import type { Caller } from '../domain/caller.js';
import { formatInstant } from '../domain/instant.js';
import { nextState, type LeaseAction } from '../domain/lease-transition.js';
import { ownerKey, type Lease, type LeaseState } from '../domain/lease.js';
import { phaseOf } from '../domain/reservation.js';
import type { Clock } from '../ports/environment.js';
import type { Stores, Tx } from '../ports/store.js';
import type { VmKnowledge } from '../ports/vm-knowledge.js';
import type { LeaseRegister } from './lease-register.js';
import { noLease, reservationOver, vmMayRun, wrongLeaseState } from './lease-refusal.js';
import type { PoolIndex } from './pool-index.js';

export interface LeaseChangerOptions {
  readonly register: LeaseRegister;
  readonly pools: PoolIndex;
  readonly clock: Clock;
  readonly knowledge: VmKnowledge;
  /** How long a released address rests, milliseconds; 0 or more. */
  readonly quarantineMs: number;
}

/** What becomes of a lease once it is given. Everything runs in the caller's transaction. */
export class LeaseChanger {
  private readonly register: LeaseRegister;
  private readonly pools: PoolIndex;
  private readonly clock: Clock;
  private readonly knowledge: VmKnowledge;
  private readonly quarantineMs: number;

  constructor({ register, pools, clock, knowledge, quarantineMs }: LeaseChangerOptions) {
    this.register = register;
    this.pools = pools;
    this.clock = clock;
    this.knowledge = knowledge;
    this.quarantineMs = quarantineMs;
  }

  bind(tx: Tx, address: Ipv4, caller: Caller): Lease {
    const lease = getLease(tx, address);
    const next = nextState(lease.state, 'bind');
    if (next === 'unchanged') return lease;
    if (next !== 'bound') throw wrongLeaseState(lease, 'bound', 'acquire it anew');
    this.refuseOver(lease);
    const note = { kind: 'lease.bound', text: `bound to ${this.register.ownerOf(lease)}` };
    return this.register.update(tx, lease, { state: next, expiresAtMs: undefined }, caller, note);
  }

  extend(tx: Tx, address: Ipv4, ttlMs: number, caller: Caller): Lease {
    const lease = getLease(tx, address);
    const next = nextState(lease.state, 'extend');
    if (next !== 'pending') throw wrongLeaseState(lease, 'extended', 'only pending leases have an end of their own');
    this.refuseOver(lease);
    const expiresAtMs = this.clock.nowMs() + ttlMs;
    const until = formatInstant(expiresAtMs);
    const note = { kind: 'lease.extended', text: `pending until ${until}`, details: { until } };
    return this.register.update(tx, lease, { expiresAtMs }, caller, note);
  }

  release(tx: Tx, address: Ipv4, caller: Caller, force: boolean): Lease {
    const lease = getLease(tx, address);
    const state = this.next(lease, 'release');
    if (state === undefined) return lease;
    const mayRun = this.mayRun(lease);
    const owner = this.register.ownerOf(lease);
    if (mayRun && !force) throw vmMayRun(lease, owner);
    const expiresAtMs = this.clock.nowMs() + this.quarantineMs;
    const details = { until: formatInstant(expiresAtMs), was: lease.state, ...(mayRun && { forced: 'true' }) };
    const forced = mayRun ? ' by force, while it may be running' : '';
    const note = {
      kind: 'lease.released',
      text: `released by ${owner}${forced}; rests until ${details.until}`,
      details,
    };
    return this.register.update(tx, lease, { state, expiresAtMs }, caller, note);
  }

  /** @param seenMac who answered; the lease's own MAC is no stranger, and changes nothing */
  decline(tx: Tx, address: Ipv4, seenMac: Mac | undefined, caller: Caller): Lease {
    const lease = getLease(tx, address);
    if (seenMac === lease.mac) return lease;
    const state = this.next(lease, 'decline');
    if (state === undefined) return lease;
    const by = seenMac === undefined ? 'somebody else' : formatMac(seenMac);
    const details = { was: lease.state, ...(seenMac !== undefined && { seenMac: formatMac(seenMac) }) };
    const note = { kind: 'lease.declined', text: `declined: ${by} answers on it`, details };
    return this.register.update(tx, lease, { state, expiresAtMs: undefined }, caller, note);
  }

  /** What {@link acquire} did is undone, unless something else happened to the lease since. */
  undo(tx: Tx, before: Lease | undefined, lease: Lease, caller: Caller): void {
    const present = tx.leases.findById(lease.id);
    if (present === undefined || ownerKey(present.owner) !== ownerKey(lease.owner)) return;
    const isUntold = present.state === 'pending' || present.revision === lease.revision;
    if (!isUntold) return;
    if (before === undefined) this.register.free(tx, present, caller, 'its owner was never told of it');
    else if (before.state === 'quarantined') this.restBack(tx, before, present, caller);
  }

  /** The reservation is over. @returns what became of the lease */
  end(tx: Tx, lease: Lease, caller: Caller): 'freed' | 'expired' | 'unchanged' {
    if (!this.ownerMayRun(lease)) {
      this.register.free(tx, lease, caller, 'its reservation is over');
      return 'freed';
    }
    const state = this.next(lease, 'expire');
    if (state === undefined) return 'unchanged';
    const text = `expired: its reservation is over, and ${this.register.ownerOf(lease)} is not known to be stopped`;
    const note = { kind: 'lease.expired', text, details: { was: lease.state } };
    this.register.update(tx, lease, { state, expiresAtMs: undefined }, caller, note);
    return 'expired';
  }

  /** The reservation goes on after all. */
  renew(tx: Tx, lease: Lease, caller: Caller): Lease {
    const state = this.next(lease, 'revive');
    if (state === undefined) return lease;
    const text = `bound again to ${this.register.ownerOf(lease)}: its reservation was extended`;
    return this.register.update(tx, lease, { state }, caller, { kind: 'lease.revived', text });
  }

  free(tx: Tx, lease: Lease, caller: Caller, why: string): void {
    this.register.free(tx, lease, caller, why);
  }

  /** `undefined`: nothing is to be done. */
  private next(lease: Lease, action: LeaseAction): LeaseState | undefined {
    const next = nextState(lease.state, action);
    if (next === 'unchanged') return undefined;
    if (next === 'refused' || next === 'free') throw wrongLeaseState(lease, 'changed', 'look at its history');
    return next;
  }

  private restBack(tx: Tx, before: Lease, present: Lease, caller: Caller): void {
    const { state, expiresAtMs } = before;
    const note = { kind: 'lease.released', text: 'rests again: its owner was never told of it' };
    // A MAC that was chosen anew stays: somebody else may have the old one by now.
    this.register.update(tx, present, { state, expiresAtMs }, caller, note);
  }

  /** Not a pending one: its VM is not configured with it yet. */
  private mayRun(lease: Lease): boolean {
    return (lease.state === 'bound' || lease.state === 'expired') && this.ownerMayRun(lease);
  }

  /** A free name has no VM that could be seen. */
  private ownerMayRun({ owner }: Lease): boolean {
    return owner.kind === 'vif' && !this.knowledge.isKnownStopped(owner.vmId);
  }

  private refuseOver(lease: Lease): void {
    const reservation = this.pools.findById(lease.reservationId)?.reservation;
    if (reservation !== undefined && phaseOf(reservation, this.clock.nowMs()) === 'over') {
      throw reservationOver(reservation);
    }
  }
}

/** @throws {AppError} `not_found` */
function getLease(stores: Stores, address: Ipv4): Lease {
  const lease = stores.leases.findByAddress(address);
  if (lease === undefined) throw noLease(address);
  return lease;
}
