import { AppError } from '../../shared/errors.js';
import { parseVmName } from '../../shared/domain/name.js';
import type { PlannedStep } from '../domain/address-plan.js';
import type { Caller } from '../domain/caller.js';
import { placeVms, totalCapacity, type Placement } from '../domain/placement.js';
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
import type { Origin } from './vm-origin.js';
import type { PlaceRequest, Survey, VmPlacer } from './vm-placer.js';
import type { VmProgress } from './vm-progress.js';

export interface CreateRequest extends PlaceRequest {
  /** Of one VM; of several, what their names begin with: web-1, web-2, ... */
  readonly name: string;
  /** `undefined`: one, with just that name; 1 to 1,000, or as many as fit. */
  readonly count: number | 'max' | undefined;
  /** In the place of both: these very names. */
  readonly names?: readonly string[] | undefined;
  readonly placement: Placement;
  /** `undefined`: the only active one. */
  readonly reservation: string | undefined;
  readonly bridge: string | undefined;
  /** Once it is made. */
  readonly isStarted: boolean;
  /** By its host, when that boots. */
  readonly isAutostarted?: boolean | undefined;
  readonly isDryRun: boolean;
}

/** Where VMs would go. */
export interface CreatePlan {
  readonly survey: Survey;
  readonly reservation: string;
  readonly freeAddresses: number;
  readonly wanted: number;
  /** A host for each of them; none when they cannot be made. */
  readonly placed: readonly HostId[];
  readonly problem: AppError | undefined;
}

export interface VmCreatorOptions {
  readonly fleet: Fleet;
  readonly operator: VmOperator;
  readonly maker: VmMaker;
  readonly placer: VmPlacer;
  readonly pools: PoolIndex;
  readonly journal: Journal;
  readonly clock: Clock;
  readonly random: RandomSource;
}

const MAX_COUNT = 1_000;

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
      yield this.planOf(
        journal.read((stores) => this.draft(stores, request, caller)),
        request,
      );
      return;
    }
    // Placed and kept in one turn: two requests cannot be given the same room.
    const { draft, begun } = await journal.submit((tx) => {
      const draft = this.draft(tx, request, caller);
      const intents = draft.placed.map((each) => this.intentOf(each, draft, request));
      return { draft, begun: maker.beginIn(tx, intents, request.shape, { ...caller, requestId: draft.requestId }) };
    });
    yield this.planOf(draft, request);
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

  /** Where VMs would go, and what limits that; changes nothing. @throws {AppError} as {@link create}, unless they do not fit */
  plan(request: CreateRequest, caller: Caller): CreatePlan {
    const { journal, placer, pools, clock } = this.options;
    return journal.read((stores) => {
      const survey = placer.survey(stores, request, [], false);
      const pool = pools.choose(request.reservation, clock.nowMs());
      const outcome = this.tryDraft(stores, request, caller);
      return {
        survey,
        reservation: pool.reservation.name,
        freeAddresses: pool.bitmap.freeCount,
        wanted: request.count === 'max' ? outcome.placed.length : (request.names?.length ?? request.count ?? 1),
        ...outcome,
      };
    });
  }

  private tryDraft(stores: Stores, request: CreateRequest, caller: Caller): Pick<CreatePlan, 'placed' | 'problem'> {
    try {
      const { placed } = this.draft(stores, request, { ...caller, requestId: undefined });
      return { placed: placed.map(({ origin }) => origin.hostId), problem: undefined };
    } catch (error) {
      if (error instanceof AppError) return { placed: [], problem: error };
      throw error;
    }
  }

  private draft(stores: Stores, request: CreateRequest, caller: Caller): Draft {
    const { pools, clock, placer } = this.options;
    const requestId = caller.requestId ?? this.newUuid();
    const former = formerJobs(stores, requestId, caller);
    const asked = askedNames(stores, requestId, request);
    const isOpen = asked.length === 0;
    const known = [...former.values()];
    if (!isOpen && asked.every((name) => former.has(name))) {
      return { requestId, reservation: '', known, placed: [], warnings: [] };
    }
    const pool = pools.choose(request.reservation, clock.nowMs());
    const survey = placer.survey(stores, request, known, true);
    const { freeCount } = pool.bitmap;
    const names = isOpen
      ? namesOf(request.name, mostThatFit(survey, freeCount))
      : asked.filter((name) => !former.has(name));
    for (const name of names) this.refuseTaken(stores, name);
    const placed = place(survey, names, request.placement);
    refuseAddresses(placed, pool.reservation.name, freeCount);
    const warnings = survey.refusals.map(({ message }) => `left out: ${message}`);
    return { requestId, reservation: pool.reservation.name, known, placed, warnings };
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

  private intentOf(
    { name, origin }: Placed,
    { reservation }: Draft,
    { bridge, labels, isStarted, isAutostarted }: CreateRequest,
  ): MakeIntent {
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
      labels,
      isStarted,
      isAutostarted,
    };
  }

  private planOf(draft: Draft, request: CreateRequest): VmProgress {
    const { operator } = this.options;
    const steps = [
      ...draft.known.map((job) => operator.plan(job, 'continue', STAND[job.state])),
      ...draft.placed.flatMap((each) => this.stepsFor(each, draft.reservation, request)),
    ];
    return { kind: 'plan', steps, warnings: draft.warnings };
  }

  private stepsFor(
    { name, origin }: Placed,
    reservation: string,
    { isAutostarted = false }: CreateRequest,
  ): readonly PlannedStep[] {
    const { operator } = this.options;
    const vm = { name, hostId: origin.hostId };
    return [
      operator.plan(vm, origin.order(name, '').kind, origin.detail),
      operator.plan(vm, 'size', `${origin.memoryMib} MiB, ${origin.vcpus} vcpus`),
      ...origin.vifs.map(({ index }) =>
        operator.plan(vm, 'take lease', `vif ${index}: the next free of ${reservation}`),
      ),
      ...(isAutostarted ? [operator.plan(vm, 'start at boot', origin.keyOf(name))] : []),
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

function namesOf(name: string, count: number | undefined): readonly string[] {
  return count === undefined ? [name] : Array.from({ length: count }, (_, n) => `${name}-${n + 1}`);
}

/** None: as many as fit. */
function askedNames(stores: Stores, requestId: string, { name, count, names }: CreateRequest): readonly string[] {
  if (names !== undefined) return names;
  return count === 'max' ? namesIn(stores, requestId) : namesOf(name, count);
}

/** Of a request that came before: how many fitted then. */
function namesIn(stores: Stores, requestId: string): readonly string[] {
  const jobs = stores.jobs.listByRequest(requestId).filter(({ kind }) => kind === CREATE_JOB);
  return [...new Set(jobs.map(({ name }) => name))];
}

/** At least one: that it does not fit is told when it is placed. */
function mostThatFit({ sites }: Survey, freeAddresses: number): number {
  const addressesEach = Math.max(1, ...sites.map(({ origin }) => origin.vifs.length));
  return Math.max(1, Math.min(MAX_COUNT, totalCapacity(sites), Math.floor(freeAddresses / addressesEach)));
}

function place({ sites }: Survey, names: readonly string[], placement: Placement): readonly Placed[] {
  const byName = new Map(sites.map((site) => [site.name, site.origin]));
  return placeVms(names, sites, placement).flatMap(({ name, host }) => {
    const origin = byName.get(host);
    return origin ? [{ name, origin }] : [];
  });
}

/** @throws {AppError} `exhausted` */
function refuseAddresses(placed: readonly Placed[], reservation: string, free: number): void {
  const needed = placed.reduce((sum, { origin }) => sum + origin.vifs.length, 0);
  if (needed <= free) return;
  throw new AppError('exhausted', `${placed.length} VMs need ${needed} addresses: ${reservation} has ${free} free`, {
    free: String(free),
    hint: 'release what is not needed (domherd lease list), import more addresses, or make fewer VMs',
  });
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
