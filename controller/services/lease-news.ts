import type { Event } from '../domain/event.js';
import type { Lease } from '../domain/lease.js';
import type { Reservation } from '../domain/reservation.js';
import type { HostId } from '../domain/vm.js';
import type { VifLease } from '../ports/agent-link.js';
import type { Stores } from '../ports/store.js';
import type { Fleet } from './fleet.js';
import type { HostSession } from './host-session.js';
import type { Journal } from './journal.js';

export interface LeaseNewsOptions {
  readonly fleet: Fleet;
  readonly journal: Journal;
}

/** More since the last time than are worth a look each. */
const MAX_EVENTS = 1_000;
const ALL = 'all';

/**
 * Tells each host what its vifs have leased: a dom0 that boots without the controller starts nothing whose lease has ended,
 * and nothing that was extended is held back.
 */
export class LeaseNews {
  private readonly options: LeaseNewsOptions;
  /** Nothing changes a lease or a reservation without an event. */
  private lastEventId = -1;
  private told = new WeakSet<HostSession>();

  constructor(options: LeaseNewsOptions) {
    this.options = options;
  }

  /** To be called about once a second; does nothing when nothing happened. */
  tell(): void {
    const { fleet, journal } = this.options;
    journal.read((stores) => {
      this.forgetTouched(stores);
      const untold = fleet.reachable().filter((session) => !this.told.has(session));
      if (untold.length === 0) return;
      const reservations = new Map(stores.reservations.list().map((one) => [one.id, one]));
      for (const session of untold) {
        session.tellLeases(this.leasesOf(stores, session.hostId, reservations));
        this.told.add(session);
      }
    });
  }

  /** Who has to do with what happened since is told again: in a fleet that makes VMs all day, few each second. */
  private forgetTouched({ events }: Stores): void {
    const lastEventId = events.lastId();
    if (lastEventId === this.lastEventId) return;
    const fresh = events.list({}, this.lastEventId, MAX_EVENTS);
    this.lastEventId = lastEventId;
    const touched = fresh.map((event) => this.hostsOf(event));
    if (fresh.length === MAX_EVENTS || touched.includes(ALL)) {
      this.told = new WeakSet();
      return;
    }
    const names = new Set(touched.flat());
    for (const session of this.options.fleet.reachable()) if (names.has(session.hostName)) this.told.delete(session);
  }

  private hostsOf({ kind, host, vmId }: Event): readonly string[] | typeof ALL {
    // It was another host's before.
    if (kind === 'vm.migrated') return ALL;
    const { fleet } = this.options;
    const hosts = host === undefined ? [] : [host];
    if (vmId === undefined) return hosts.length === 0 ? ALL : hosts;
    const vm = fleet.vms.byId(vmId);
    return vm ? [...hosts, fleet.hostName(vm.hostId)] : ALL;
  }

  private leasesOf(
    stores: Stores,
    hostId: HostId,
    reservations: ReadonlyMap<number, Reservation>,
  ): readonly VifLease[] {
    return this.options.fleet.vms.onHost(hostId).flatMap(({ id, cfgPath, isGone }) => {
      if (cfgPath === undefined || isGone) return [];
      return stores.leases
        .listByVm(id)
        .flatMap((lease) => vifLeaseOf(cfgPath, lease, reservations.get(lease.reservationId)));
    });
  }
}

function vifLeaseOf(cfgPath: string, lease: Lease, reservation: Reservation | undefined): readonly VifLease[] {
  const { owner, address, mac, state, changedAtMs } = lease;
  if (owner.kind !== 'vif' || reservation === undefined) return [];
  const isLive = state === 'pending' || state === 'bound';
  const endsAtMs = isLive ? reservation.endsAtMs : Math.min(reservation.endsAtMs, changedAtMs);
  return [{ cfgPath, vifIndex: owner.vifIndex, address, mac, endsAtMs }];
}
