import { AppError } from '../../shared/errors.js';
import { parseVmName } from '../../shared/domain/name.js';
import type { VmShape } from '../../shared/domain/vm-shape.js';
import type { PlannedStep } from '../domain/address-plan.js';
import type { Caller } from '../domain/caller.js';
import { placeVms, type PlaceableHost, type Placement } from '../domain/placement.js';
import type { VmJob } from '../domain/vm-job.js';
import type { HostId } from '../domain/vm.js';
import type { Clock, RandomSource } from '../ports/environment.js';
import type { Stores } from '../ports/store.js';
import type { Fleet } from './fleet.js';
import { refuseOtherRequest } from './idempotency.js';
import type { Journal } from './journal.js';
import type { PoolIndex } from './pool-index.js';
import { CREATE_JOB, type MakeIntent, type VmMaker } from './vm-maker.js';
import type { VmOperator } from './vm-operator.js';
import { findOrigins, type CreateSource, type Origin } from './vm-origin.js';
import type { VmProgress } from './vm-progress.js';

export interface CreateRequest {
  /** Of one VM; of several, what their names begin with: web-1, web-2, ... */
  readonly name: string;
  /** `undefined`: one, with just that name. 1 to 1,000. */
  readonly count: number | undefined;
  readonly source: CreateSource;
  /** Host names; empty: all that have such a VM. */
  readonly hosts: readonly string[];
  readonly placement: Placement;
  readonly shape: VmShape;
  /** `undefined`: the only active one. */
  readonly reservation: string | undefined;
  readonly bridge: string | undefined;
  readonly isDryRun: boolean;
}

export interface VmCreatorOptions {
  readonly fleet: Fleet;
  readonly operator: VmOperator;
  readonly maker: VmMaker;
  readonly pools: PoolIndex;
  readonly journal: Journal;
  readonly clock: Clock;
  readonly random: RandomSource;
}

/** One VM of a request that is to be begun. */
interface Placed {
  readonly name: string;
  readonly origin: Origin;
}

interface Draft {
  readonly requestId: string;
  readonly reservation: string;
  /** Of the same request before: they are followed, or answered as they were. */
  readonly known: readonly VmJob[];
  readonly placed: readonly Placed[];
  readonly warnings: readonly string[];
}

/**
 * Has VMs made, with addresses of their own.
 *
 * Invariants:
 * - Nothing is made before all of them have a host that has room for them, besides those that are being made.
 * - A request that comes again with its id goes on: what it has made is not made again, what was undone is tried anew.
 */
export class VmCreator {
  private readonly options: VmCreatorOptions;

  constructor(options: VmCreatorOptions) {
    this.options = options;
  }

  /** A client who leaves changes nothing: {@link VmMaker.cancel} does. */
  async *create(request: CreateRequest, caller: Caller, signal: AbortSignal): AsyncGenerator<VmProgress> {
    const { journal, maker } = this.options;
    if (request.isDryRun) {
      yield this.planOf(journal.read((stores) => this.draft(stores, request, caller)));
      return;
    }
    // Placed and kept in one turn: two requests cannot be given the same room.
    const { draft, begun } = await journal.submit((tx) => {
      const draft = this.draft(tx, request, caller);
      const intents = draft.placed.map((each) => this.intentOf(each, draft, request));
      return { draft, begun: maker.beginIn(tx, intents, request.shape, { ...caller, requestId: draft.requestId }) };
    });
    yield this.planOf(draft);
    yield* maker.follow([...draft.known, ...begun], signal);
  }

  /** Undoes what of that request is not whole. @returns how many VMs are concerned */
  cancel(requestId: string): number {
    return this.options.maker.cancel(requestId);
  }

  /** After a start of the controller: goes on with what the one before it had begun. */
  resume(): void {
    this.options.maker.resume();
  }

  /** Leaves everything as it is on the disk. */
  stop(): void {
    this.options.maker.stop();
  }

  private draft(stores: Stores, request: CreateRequest, caller: Caller): Draft {
    const { pools, clock } = this.options;
    const requestId = caller.requestId ?? this.newUuid();
    const former = formerJobs(stores, requestId, caller);
    const names = namesOf(request).filter((name) => !former.has(name));
    for (const name of names) this.refuseTaken(stores, name);
    const known = [...former.values()];
    if (names.length === 0) return { requestId, reservation: '', known, placed: [], warnings: [] };
    const { reservation } = pools.choose(request.reservation, clock.nowMs());
    return { requestId, reservation: reservation.name, known, ...this.place(stores, request, names) };
  }

  /** @throws {AppError} `already_exists`, `invalid` */
  private refuseTaken(stores: Stores, name: string): void {
    const { fleet, maker } = this.options;
    parseVmName(name);
    maker.refuseReserved(stores, name);
    const taken = fleet.vms.byName(name).find((vm) => !vm.isGone);
    if (!taken) return;
    throw new AppError('already_exists', `there is a VM ${fleet.label(taken)} already`, {
      vm: name,
      hint: 'take another name, or delete it: domherd vm delete',
    });
  }

  private place(stores: Stores, request: CreateRequest, names: readonly string[]): Pick<Draft, 'placed' | 'warnings'> {
    const { fleet } = this.options;
    const { origins, refusals } = findOrigins(fleet, request.source, request.hosts, request.shape);
    const [first] = refusals;
    if (origins.length === 0 && first) throw first.error;
    const free = this.freeMemory(stores);
    const hosts = origins.map((origin): PlaceableHost => {
      const { hostId, memoryMib } = origin;
      return { name: fleet.hostName(hostId), freeMib: free.get(hostId) ?? 0, memoryMib };
    });
    const byHost = new Map(origins.map((origin) => [fleet.hostName(origin.hostId), origin]));
    const placed = placeVms(names, hosts, request.placement).flatMap(({ name, host }) => {
      const origin = byHost.get(host);
      return origin ? [{ name, origin }] : [];
    });
    return { placed, warnings: refusals.map(({ error }) => `left out: ${error.message}`) };
  }

  /** MiB that Xen has, less what those will want that are being made. */
  private freeMemory(stores: Stores): ReadonlyMap<HostId, number> {
    const { fleet, maker } = this.options;
    const free = new Map(fleet.hosts().map(({ host }) => [host.id, host.facts?.memoryFreeMib ?? 0]));
    for (const { hostId, memoryMib } of maker.reserved(stores)) free.set(hostId, (free.get(hostId) ?? 0) - memoryMib);
    return free;
  }

  private intentOf({ name, origin }: Placed, { reservation }: Draft, { bridge }: CreateRequest): MakeIntent {
    const { hostId, label, what, memoryMib, vcpus } = origin;
    const order = origin.order(name, this.newUuid());
    return {
      name,
      hostId,
      vmKey: origin.keyOf(name),
      source: label,
      what,
      order,
      memoryMib,
      vcpus,
      reservation,
      bridge,
    };
  }

  private planOf(draft: Draft): VmProgress {
    const { operator } = this.options;
    const steps = [
      ...draft.known.map((job) => operator.plan(job, 'continue', STAND[job.state])),
      ...draft.placed.flatMap((each) => this.stepsFor(each, draft.reservation)),
    ];
    return { kind: 'plan', steps, warnings: draft.warnings };
  }

  private stepsFor({ name, origin }: Placed, reservation: string): readonly PlannedStep[] {
    const { operator } = this.options;
    const vm = { name, hostId: origin.hostId };
    return [
      operator.plan(vm, origin.order(name, '').kind, origin.detail),
      operator.plan(vm, 'size', `${origin.memoryMib} MiB, ${origin.vcpus} vcpus`),
      ...origin.vifs.map(({ index }) =>
        operator.plan(vm, 'take lease', `vif ${index}: the next free of ${reservation}`),
      ),
    ];
  }

  /** RFC 9562, version 4. */
  private newUuid(): string {
    const bytes = Buffer.from(this.options.random.bytes(16));
    bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
    bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
    return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
  }
}

/** For people: how far a VM is whose request comes again. */
const STAND: Readonly<Record<VmJob['state'], string>> = {
  running: 'it is being made',
  undoing: 'it is being taken away again',
  done: 'it is made',
  undone: 'it was not made',
};

function namesOf({ name, count }: CreateRequest): readonly string[] {
  return count === undefined ? [name] : Array.from({ length: count }, (_, n) => `${name}-${n + 1}`);
}

/** The last job of each name that needs not be begun again. */
function formerJobs(stores: Stores, requestId: string, { fingerprint }: Caller): ReadonlyMap<string, VmJob> {
  const former = new Map<string, VmJob>();
  for (const job of stores.jobs.listByRequest(requestId)) {
    if (job.kind !== CREATE_JOB) continue;
    refuseOtherRequest(job, fingerprint);
    if (job.state === 'undone') former.delete(job.name);
    else former.set(job.name, job);
  }
  return former;
}
