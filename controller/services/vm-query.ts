import type { Labels } from '../../shared/domain/label.js';
import { selectHosts } from '../../shared/domain/host-selector.js';
import { ownerKey, type Lease, type LeaseState, type OwnerKey, type VmId } from '../domain/lease.js';
import type { ReservationId } from '../domain/reservation.js';
import type { Vm } from '../domain/vm.js';
import type { VmMetrics } from '../domain/vm-metrics.js';
import { selectVm, selectVms, type SelectableVm, type VmDirectory, type VmSelector } from '../domain/vm-selector.js';
import type { Stores } from '../ports/store.js';
import type { Fleet } from './fleet.js';
import type { Journal } from './journal.js';

export interface LeaseView {
  readonly lease: Lease;
  /** The reservation's name. */
  readonly reservation: string;
}

/** A VM with everything that is known of it. */
export interface VmView {
  readonly vm: Vm;
  readonly host: string;
  readonly isSimulated: boolean;
  /** The host is not online: all of this is what was last seen. */
  readonly isStale: boolean;
  /** When the host last told of it, milliseconds since 1970. */
  readonly observedAtMs: number;
  /** By vif index. */
  readonly leases: ReadonlyMap<number, LeaseView>;
  readonly metrics: VmMetrics | undefined;
  readonly labels: Labels;
}

interface Choice extends SelectableVm {
  readonly vm: Vm;
}

const SHOWN_STATES: readonly LeaseState[] = ['pending', 'bound', 'expired'];
/** For so many VMs their leases are looked up one by one; for more, all leases are read. */
const FEW_VMS = 64;
const PAGE = 10_000;

/** Finds VMs, and shows them with their leases. */
export class VmQuery {
  private readonly fleet: Fleet;
  private readonly journal: Journal;
  private readonly directory: VmDirectory<Choice>;

  constructor(options: { readonly fleet: Fleet; readonly journal: Journal }) {
    this.fleet = options.fleet;
    this.journal = options.journal;
    this.directory = {
      byId: (id) => this.toChoices(this.fleet.vms.byId(id))[0],
      byName: (name) => this.toChoices(...this.fleet.vms.byName(name)),
      all: () => this.toChoices(...[...this.fleet.vms.all()].filter((vm) => !vm.isGone)).sort(byHostAndName),
    };
  }

  /** @throws {AppError} as selectVms of the domain */
  select(selector: VmSelector): readonly Vm[] {
    return selectVms(selector, this.directory).map(({ vm }) => vm);
  }

  /** @param selector `undefined`: all. By host, then name. @throws {AppError} as selectVms of the domain */
  list(selector: VmSelector | undefined): readonly VmView[] {
    const choices = selectVms(selector ?? { names: [], all: true }, this.directory);
    return this.views([...choices].sort(byHostAndName).map(({ vm }) => vm));
  }

  /** Names of hosts of those that a user wrote: see the domain's function. @throws {AppError} as it */
  selectHosts(texts: readonly string[]): readonly string[] {
    return selectHosts(
      texts,
      this.fleet.hosts().map(({ host }) => host.name),
    );
  }

  /** @throws {AppError} `not_found`, or `invalid` for a name that several VMs have */
  get(text: string): VmView {
    return this.view(selectVm(text, this.directory).vm);
  }

  /** The VM as it is known now, should it have changed since it was selected. */
  view(vm: Vm): VmView {
    const [view] = this.views([this.fleet.vms.byId(vm.id) ?? { ...vm, isGone: true }]);
    return view ?? this.toView(vm, new Map(), {});
  }

  private views(vms: readonly Vm[]): readonly VmView[] {
    return this.journal.read((stores) => {
      const leases = leasesByOwner(stores, vms);
      const labels = labelsOf(stores, vms);
      return vms.map((vm) => this.toView(vm, leases, labels.get(vm.id) ?? {}));
    });
  }

  private toView(vm: Vm, leases: ReadonlyMap<OwnerKey, LeaseView>, labels: Labels): VmView {
    const own = vm.vifs.flatMap(({ index }) => {
      const lease = leases.get(ownerKey({ kind: 'vif', vmId: vm.id, vifIndex: index }));
      return lease ? [[index, lease] as const] : [];
    });
    return {
      vm,
      host: this.fleet.hostName(vm.hostId),
      isSimulated: this.fleet.isSimulated(vm.hostId),
      isStale: !this.fleet.isReachable(vm.hostId),
      observedAtMs: this.fleet.observedAtMs(vm),
      leases: new Map(own),
      metrics: this.fleet.metricsOf(vm),
      labels,
    };
  }

  private toChoices(...vms: readonly (Vm | undefined)[]): Choice[] {
    return vms.flatMap((vm) =>
      vm ? [{ id: vm.id, name: vm.name, isGone: vm.isGone, host: this.fleet.hostName(vm.hostId), vm }] : [],
    );
  }
}

function byHostAndName(a: SelectableVm, b: SelectableVm): number {
  if (a.host !== b.host) return a.host < b.host ? -1 : 1;
  if (a.name !== b.name) return a.name < b.name ? -1 : 1;
  return a.id - b.id;
}

/** Each vif's lease to show: the one that it holds, else one that has expired; the newest of several. */
function leasesByOwner(stores: Stores, vms: readonly Vm[]): ReadonlyMap<OwnerKey, LeaseView> {
  const names = new Map(stores.reservations.list().map(({ id, name }) => [id, name]));
  const chosen = new Map<OwnerKey, LeaseView>();
  for (const lease of vms.length <= FEW_VMS ? leasesOf(stores, vms) : allLeases(stores)) {
    const key = ownerKey(lease.owner);
    const before = chosen.get(key)?.lease;
    if (!before || rankOf(lease) > rankOf(before)) chosen.set(key, toLeaseView(lease, names));
  }
  return chosen;
}

function labelsOf(stores: Stores, vms: readonly Vm[]): ReadonlyMap<VmId, Labels> {
  if (vms.length > FEW_VMS) return stores.labels.list();
  return new Map(vms.map(({ id }) => [id, stores.labels.find(id)]));
}

function toLeaseView(lease: Lease, names: ReadonlyMap<ReservationId, string>): LeaseView {
  return { lease, reservation: names.get(lease.reservationId) ?? '' };
}

function rankOf(lease: Lease): number {
  return (lease.state === 'expired' ? 0 : Number.MAX_SAFE_INTEGER / 2) + lease.changedAtMs;
}

function leasesOf(stores: Stores, vms: readonly Vm[]): readonly Lease[] {
  return vms.flatMap((vm) => stores.leases.listByVm(vm.id)).filter(({ state }) => SHOWN_STATES.includes(state));
}

/** Every lease that is in some VM's hands, page by page. */
export function* allLeases(stores: Stores, states: readonly LeaseState[] = SHOWN_STATES): Generator<Lease> {
  let after: Lease['address'] | undefined;
  for (;;) {
    const page = stores.leases.list({ states }, after, PAGE);
    yield* page;
    after = page.at(-1)?.address;
    if (page.length < PAGE) return;
  }
}
