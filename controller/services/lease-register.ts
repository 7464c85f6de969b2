import { formatIpv4 } from '../../shared/domain/ipv4.js';
import { formatMac } from '../../shared/domain/mac.js';
import type { Caller } from '../domain/caller.js';
import type { NewEvent } from '../domain/event.js';
import { ownerKey, type Lease, type NewLease } from '../domain/lease.js';
import type { Clock } from '../ports/environment.js';
import type { MacReason, Tx } from '../ports/store.js';
import type { VmKnowledge } from '../ports/vm-knowledge.js';
import type { EventLog } from './event-log.js';
import type { PoolIndex } from './pool-index.js';

export interface LeaseRegisterOptions {
  readonly events: EventLog;
  readonly pools: PoolIndex;
  readonly clock: Clock;
  readonly knowledge: VmKnowledge;
}

/** What a change is called in the history. */
export interface ChangeNote {
  /** "lease.bound", ... */
  readonly kind: string;
  /** Follows the address: "bound to web@dom0-1#0". */
  readonly text: string;
  readonly details?: Readonly<Record<string, string>> | undefined;
}

/**
 * The one place that writes leases.
 *
 * Invariants:
 * - Lease row, MAC row, bitmaps and history change together.
 * - A lease that exists holds its address in all pools and its MAC, in whatever state it is.
 */
export class LeaseRegister {
  private readonly events: EventLog;
  private readonly pools: PoolIndex;
  private readonly clock: Clock;
  private readonly knowledge: VmKnowledge;

  constructor({ events, pools, clock, knowledge }: LeaseRegisterOptions) {
    this.events = events;
    this.pools = pools;
    this.clock = clock;
    this.knowledge = knowledge;
  }

  /** The MAC must be free, or a claim of the same owner, which becomes the lease's. */
  insert(tx: Tx, fresh: NewLease, reason: MacReason, caller: Caller, note: ChangeNote): Lease {
    const lease = tx.leases.insert(fresh);
    this.insertMac(tx, lease, reason);
    this.pools.use(tx, lease.address);
    this.record(tx, lease, caller, note);
    return lease;
  }

  /** @throws {AppError} `raced` if the lease is not as it was read */
  update(tx: Tx, before: Lease, change: Partial<NewLease>, caller: Caller, note: ChangeNote): Lease {
    const lease = tx.leases.update({ ...before, ...change, changedAtMs: this.clock.nowMs() });
    this.record(tx, lease, caller, note);
    return lease;
  }

  /** As {@link update}, with another MAC, which must be free. */
  updateMac(
    tx: Tx,
    before: Lease,
    change: Partial<NewLease>,
    reason: MacReason,
    caller: Caller,
    note: ChangeNote,
  ): Lease {
    tx.macs.remove(before.mac);
    const lease = this.update(tx, before, change, caller, note);
    this.insertMac(tx, lease, reason);
    return lease;
  }

  /** The lease is gone: address and MAC are free. @param why "its rest is over", ... */
  free(tx: Tx, lease: Lease, caller: Caller, why: string): void {
    // Before the row: its removal takes the MAC's along (ON DELETE CASCADE), but a store need not do so.
    tx.macs.remove(lease.mac);
    tx.leases.remove(lease.id);
    this.pools.free(tx, lease.address);
    this.record(tx, lease, caller, {
      kind: 'lease.freed',
      text: `is free again: ${why}`,
      details: { was: lease.state },
    });
  }

  /** An event about a lease that changes nothing of it. */
  record(tx: Tx, lease: NewLease, caller: Caller, note: ChangeNote): void {
    this.events.record(tx, this.eventOf(lease, caller, note));
  }

  private insertMac(tx: Tx, lease: Lease, reason: MacReason): void {
    const { mac, id, owner, changedAtMs } = lease;
    tx.macs.insert({ mac, reason, owner: ownerKey(owner), leaseId: id, atMs: changedAtMs });
  }

  private eventOf(lease: NewLease, caller: Caller, note: ChangeNote): NewEvent {
    return {
      atMs: this.clock.nowMs(),
      kind: note.kind,
      message: `${formatIpv4(lease.address)} (${formatMac(lease.mac)}) ${note.text}`,
      actor: caller.actor,
      requestId: caller.requestId,
      reservation: this.pools.findById(lease.reservationId)?.reservation.name,
      address: lease.address,
      mac: lease.mac,
      vmId: lease.owner.kind === 'vif' ? lease.owner.vmId : undefined,
      owner: ownerKey(lease.owner),
      details: note.details,
    };
  }

  /** For people. */
  ownerOf(lease: NewLease): string {
    return this.knowledge.describeOwner(lease.owner);
  }
}
