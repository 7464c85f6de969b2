import type { Labels } from '../../shared/domain/label.js';
import type { HostStore } from '../../shared/domain/host-store.js';
import { isGlob } from '../../shared/domain/name-pattern.js';
import { selectHosts } from '../../shared/domain/host-selector.js';
import { invalid, type AppError } from '../../shared/errors.js';
import type { VmShape } from '../../shared/domain/vm-shape.js';
import { diskLimit, madeDiskLimit } from '../domain/disk-limit.js';
import { apartLimit, memoryLimit, type HostLimit, type PlaceableHost } from '../domain/placement.js';
import type { VmJob } from '../domain/vm-job.js';
import type { HostId, Vm } from '../domain/vm.js';
import type { Stores } from '../ports/store.js';
import type { Fleet, HostView } from './fleet.js';
import type { VmMaker } from './vm-maker.js';
import { findOrigins, type CreateSource, type Origin } from './vm-origin.js';

export interface PlaceRequest {
  readonly source: CreateSource;
  /** Host names and patterns; empty: all that have something to make them of. */
  readonly hosts: readonly string[];
  readonly shape: VmShape;
  readonly labels: Labels;
  /** VMs with the same value of this label on different hosts; empty: those of this request. */
  readonly apart: string | undefined;
}

/** A host that VMs could be made on. */
export interface Site extends PlaceableHost {
  readonly origin: Origin;
}

export interface Survey {
  /** By name. */
  readonly sites: readonly Site[];
  /** Hosts that were asked for and are none; by name. */
  readonly others: readonly { readonly name: string; readonly cpus: number; readonly limit: HostLimit }[];
  readonly refusals: readonly AppError[];
}

export interface VmPlacerOptions {
  readonly fleet: Fleet;
  readonly maker: VmMaker;
}

/** What there is on each host for VMs that are to be made. */
export class VmPlacer {
  private readonly options: VmPlacerOptions;

  constructor(options: VmPlacerOptions) {
    this.options = options;
  }

  /**
   * @param own jobs of the same request before
   * @param isStrict refuse a host that is named and has nothing to make them of, or when there is none at all
   * @throws {AppError} `not_found`, `invalid`
   */
  survey(stores: Stores, request: PlaceRequest, own: readonly VmJob[], isStrict: boolean): Survey {
    const { fleet } = this.options;
    const views = fleet.hosts();
    const wanted = this.hostsOf(request.hosts, views);
    const { origins, refusals } = findOrigins(fleet, request.source, isStrict ? wanted.named : [], request.shape);
    const isWanted = (hostId: HostId): boolean => wanted.ids === undefined || wanted.ids.has(hostId);
    const refused = refusals.filter(({ hostId }) => isWanted(hostId));
    const chosen = origins.filter(({ hostId }) => isWanted(hostId));
    const [first] = refused;
    if (isStrict && chosen.length === 0 && first) throw first.error;
    const room = this.roomOf(stores, request, own);
    const byId = new Map(chosen.map((origin) => [origin.hostId, origin]));
    const candidates = views.filter(({ host }) => isWanted(host.id));
    return {
      sites: candidates.flatMap((view) => {
        const origin = byId.get(view.host.id);
        return origin ? [room(view, origin)] : [];
      }),
      others: candidates
        .filter(({ host }) => !byId.has(host.id))
        .map((view) => ({
          name: view.host.name,
          cpus: view.host.facts?.cpus ?? 0,
          limit: this.whyNot(view, refused.find(({ hostId }) => hostId === view.host.id)?.error),
        })),
      refusals: refused.map(({ error }) => error),
    };
  }

  /** What a `*` matches and has nothing to make them of is left out; who is named by name is missed. */
  private hostsOf(
    texts: readonly string[],
    views: readonly HostView[],
  ): { readonly named: readonly string[]; readonly ids: ReadonlySet<HostId> | undefined } {
    const names = views.map(({ host }) => host.name);
    const all = selectHosts(texts, names);
    const named = selectHosts(
      texts.filter((text) => !isGlob(text)),
      names,
    );
    const isOne = (name: string): boolean => all.includes(name) || all.includes(name.split('.')[0] ?? '');
    const ids = new Set(views.filter(({ host }) => isOne(host.name)).map(({ host }) => host.id));
    return { named, ids: texts.length === 0 ? undefined : ids };
  }

  private roomOf(
    stores: Stores,
    request: PlaceRequest,
    own: readonly VmJob[],
  ): (view: HostView, origin: Origin) => Site {
    const { fleet, maker } = this.options;
    const reserved = sums(maker.reserved(stores));
    const holders = this.holders(stores, request, own);
    return ({ host }, origin) => {
      const { memoryMib = 0, vcpus = 0 } = reserved.get(host.id) ?? {};
      const limits = [memoryLimit((host.facts?.memoryFreeMib ?? 0) - memoryMib, origin.memoryMib)];
      const known = fleet.storesOf(host.id);
      const disk = known && limitOfDisks(known, origin, request.shape);
      if (disk) limits.push(disk);
      if (holders) limits.unshift(apartLimit(holders.what, holders.on(host.id)));
      const vcpusTaken = this.vcpusOf(host.id) + vcpus;
      return { name: host.name, limits, cpus: host.facts?.cpus ?? 0, vcpusTaken, vcpus: origin.vcpus, origin };
    };
  }

  private whyNot({ host, state }: HostView, error: AppError | undefined): HostLimit {
    const { fleet } = this.options;
    if (fleet.isReachable(host.id)) {
      return { kind: 'source', fits: 0, detail: error?.message ?? 'there is nothing to make them of' };
    }
    const detail = state === 'online' ? `host ${host.name} is not connected` : `host ${host.name} is ${state}`;
    return { kind: 'host', fits: 0, detail };
  }

  private vcpusOf(hostId: HostId): number {
    const vms = this.options.fleet.vms.onHost(hostId).filter((vm) => !vm.isGone && vm.state !== 'stopped');
    return vms.reduce((sum, { vcpus }) => sum + vcpus, 0);
  }

  /** @throws {AppError} `invalid` for a label that the VMs are not to have */
  private holders(
    stores: Stores,
    { apart, labels }: PlaceRequest,
    own: readonly VmJob[],
  ): { readonly what: string; readonly on: (hostId: HostId) => string | undefined } | undefined {
    if (apart === undefined) return undefined;
    if (apart === '') {
      return { what: 'this request', on: (hostId) => own.find((job) => job.hostId === hostId)?.name };
    }
    const value = labels[apart];
    if (value === undefined) {
      throw invalid(`the VMs have no label ${apart} to be apart by`, { hint: `give them one: --label ${apart}=VALUE` });
    }
    const known = stores.labels.list();
    const isOne = (vm: Vm): boolean => !vm.isGone && known.get(vm.id)?.[apart] === value;
    const made = this.options.maker.reserved(stores).filter((each) => each.labels[apart] === value);
    return {
      what: `${apart}=${value}`,
      on: (hostId) =>
        this.options.fleet.vms.onHost(hostId).find(isOne)?.name ?? made.find((each) => each.hostId === hostId)?.name,
    };
  }
}

function limitOfDisks(
  known: readonly HostStore[],
  { copiedKey, leastBytes, mount }: Origin,
  shape: VmShape,
): HostLimit | undefined {
  if (copiedKey !== undefined) return diskLimit(known, copiedKey, shape);
  return leastBytes === undefined ? undefined : madeDiskLimit(known, shape, leastBytes, mount);
}

interface Sum {
  readonly memoryMib: number;
  readonly vcpus: number;
}

function sums(reserved: readonly ({ readonly hostId: HostId } & Sum)[]): ReadonlyMap<HostId, Sum> {
  const found = new Map<HostId, Sum>();
  for (const { hostId, memoryMib, vcpus } of reserved) {
    const before = found.get(hostId) ?? { memoryMib: 0, vcpus: 0 };
    found.set(hostId, { memoryMib: before.memoryMib + memoryMib, vcpus: before.vcpus + vcpus });
  }
  return found;
}
