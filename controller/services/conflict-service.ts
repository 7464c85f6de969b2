import { findConflicts, type Conflict, type ConflictFacts, type KnownLease, type SeenVif } from '../domain/conflict.js';
import { LEASE_STATES, ownerKey } from '../domain/lease.js';
import { mayBeOnWire, type Vm } from '../domain/vm.js';
import type { Clock } from '../ports/environment.js';
import type { Stores } from '../ports/store.js';
import type { Fleet } from './fleet.js';
import type { Journal } from './journal.js';
import { allLeases } from './vm-query.js';

export interface ConflictServiceOptions {
  readonly fleet: Fleet;
  readonly journal: Journal;
  readonly clock: Clock;
}

/** Facts that cannot all stand, computed from what is known now. */
export class ConflictService {
  private readonly options: ConflictServiceOptions;

  constructor(options: ConflictServiceOptions) {
    this.options = options;
  }

  /** Active ones first, then by value. */
  list(): readonly Conflict[] {
    const { fleet, journal, clock } = this.options;
    const facts: ConflictFacts = {
      vifs: [...fleet.vms.all()].filter((vm) => !vm.isGone).flatMap((vm) => this.seenVifs(vm)),
      leases: journal.read(knownLeases),
      describeOwner: (owner) => fleet.describeOwner(owner),
    };
    return findConflicts(facts, clock.nowMs());
  }

  private seenVifs(vm: Vm): SeenVif[] {
    const label = this.options.fleet.label(vm);
    return vm.vifs.map((vif) => ({
      owner: ownerKey({ kind: 'vif', vmId: vm.id, vifIndex: vif.index }),
      label: `${label}#${String(vif.index)}`,
      mac: vif.mac,
      address: vif.guestAddress,
      mayBeOnWire: mayBeOnWire(vm.state),
    }));
  }
}

function knownLeases(stores: Stores): readonly KnownLease[] {
  const ends = new Map(stores.reservations.list().map(({ id, endsAtMs }) => [id, endsAtMs]));
  return [...allLeases(stores, LEASE_STATES)].map((lease) => ({
    ...lease,
    endsAtMs: ends.get(lease.reservationId) ?? 0,
  }));
}
