import type { Caller } from '../domain/caller.js';
import type { Lease } from '../domain/lease.js';
import type { Vm } from '../domain/vm.js';
import type { ConfigureVif } from '../ports/agent-link.js';
import type { Clock } from '../ports/environment.js';
import type { Tx } from '../ports/store.js';
import type { Fleet } from './fleet.js';
import type { Journal } from './journal.js';
import type { LeaseService } from './lease-service.js';
import type { PoolIndex } from './pool-index.js';

export interface EarlyLeaserOptions {
  readonly fleet: Fleet;
  readonly leases: LeaseService;
  readonly pools: PoolIndex;
  readonly journal: Journal;
  readonly clock: Clock;
}

/** What the first vif of a VM has before there is the VM. */
export interface EarlyLease {
  readonly lease: Lease;
  /** What its owner had before. */
  readonly before: Lease | undefined;
  /** As its host is told. */
  readonly vif: ConfigureVif;
}

/** What the making of a VM may take, and as much again: the link may break, and the host hear of it late. */
const PENDING_MS = 2 * 3_600_000;

/**
 * Leases for VMs that are made of what writes their addresses itself.
 *
 * Invariants:
 * - The owner is the vif that the VM will have: who addresses it finds the lease, whichever controller took it.
 * - It is pending: should it run out before the VM is addressed, the VM is given another, and nothing has started meanwhile.
 */
export class EarlyLeaser {
  private readonly options: EarlyLeaserOptions;

  constructor(options: EarlyLeaserOptions) {
    this.options = options;
  }

  /**
   * Repeated, it gives the same.
   *
   * @param vm that is to be made
   * @throws {AppError} as {@link LeaseService.acquire}
   */
  async take(
    vm: Vm,
    { reservation: name, bridge }: { readonly reservation: string; readonly bridge: string | undefined },
    caller: Caller,
  ): Promise<EarlyLease> {
    const { fleet, leases, pools, journal, clock } = this.options;
    const { reservation } = pools.choose(name, clock.nowMs());
    const { lease, before } = await journal.submit((tx) => {
      const vmId = fleet.expectIn(tx, vm).id;
      const claim = { owner: { kind: 'vif', vmId, vifIndex: 0 } } as const;
      const before = leases.findBeforeIn(tx, claim, reservation);
      const [acquired] = leases.acquireIn(tx, [claim], reservation, PENDING_MS, caller);
      if (acquired === undefined) throw new Error('a claim was given no lease');
      const isOld = before?.state === 'pending';
      return { lease: isOld ? leases.changer.extend(tx, acquired.address, PENDING_MS, caller) : acquired, before };
    });
    const { settings, endsAtMs: leaseEndsAtMs } = reservation;
    const vif = { index: 0, mac: lease.mac, address: lease.address, settings, hasDefaultRoute: true, leaseEndsAtMs };
    return { lease, before, vif: { ...vif, bridge } };
  }

  /** There is no such VM, and its host has nothing of it. */
  giveBackIn(tx: Tx, { lease, before }: EarlyLease, caller: Caller): void {
    const { leases } = this.options;
    if (tx.leases.findById(lease.id)?.state !== 'pending') return;
    // Taken by a controller that died: whether it rested before is not known, and rest harms nobody.
    if (before?.state === 'pending') leases.releaseIn(tx, [lease.address], caller, { force: false });
    else leases.undoIn(tx, before, lease, caller);
  }
}
