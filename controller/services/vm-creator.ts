import { AppError, invalid, notFound, wrongState } from '../../shared/errors.js';
import { parseVmName } from '../../shared/domain/name.js';
import type { VmShape } from '../../shared/domain/vm-shape.js';
import { refuseUnreachable, type PlannedStep } from '../domain/address-plan.js';
import type { Caller } from '../domain/caller.js';
import { placeVms, type PlaceableHost, type Placement } from '../domain/placement.js';
import type { HostId, Vm } from '../domain/vm.js';
import type { Clock, RandomSource } from '../ports/environment.js';
import type { Fleet } from './fleet.js';
import type { Journal } from './journal.js';
import { KeyedQueue } from './keyed-queue.js';
import type { PoolIndex } from './pool-index.js';
import type { VmAddresser } from './vm-addresser.js';
import { expectDone, type VmOperator } from './vm-operator.js';
import { runEach, type Tell, type VmProgress, type VmResult } from './vm-progress.js';

export interface CreateRequest {
  /** Of one VM; of several, what their names begin with: web-1, web-2, ... */
  readonly name: string;
  /** `undefined`: one, with just that name. 1 to 1,000. */
  readonly count: number | undefined;
  /** NAME: the VM of that name on each host. NAME@HOST: that one, and copies stay on its host. */
  readonly like: string;
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
  readonly addresser: VmAddresser;
  readonly pools: PoolIndex;
  readonly journal: Journal;
  readonly clock: Clock;
  readonly random: RandomSource;
}

/** A large image over a slow disk. */
const COPY_MS = 3_600_000;
const REMOVE_MS = 120_000;
const PARALLEL = 32;

interface Job {
  readonly source: Vm;
  /** What is to be, as its host will tell of it. */
  readonly vm: Vm;
}

/**
 * Makes VMs that are copies of others, with addresses of their own.
 *
 * Invariants:
 * - Nothing is made before all of them have a host that has memory for them.
 * - One that cannot be addressed is taken away again: a VM is all of it, or nothing. One VM's failure leaves the others.
 */
export class VmCreator {
  private readonly options: VmCreatorOptions;
  /** A host's disks are no faster for two copies at once. */
  private readonly disks = new KeyedQueue<HostId>();

  constructor(options: VmCreatorOptions) {
    this.options = options;
  }

  async *create(request: CreateRequest, caller: Caller, signal: AbortSignal): AsyncGenerator<VmProgress> {
    const { pools, clock, operator } = this.options;
    const { reservation } = pools.choose(request.reservation, clock.nowMs());
    const { jobs, warnings } = this.place(request, this.namesOf(request));
    yield { kind: 'plan', steps: jobs.flatMap((job) => this.stepsFor(job, reservation.name)), warnings };
    if (request.isDryRun) return;
    yield* runEach(jobs, PARALLEL, signal, (job, tell, stop) =>
      operator.guard(job.vm, () => this.createOne(job, request, caller, tell, stop)),
    );
  }

  private namesOf({ name, count }: CreateRequest): readonly string[] {
    const names = count === undefined ? [name] : Array.from({ length: count }, (_, n) => `${name}-${n + 1}`);
    for (const each of names) {
      parseVmName(each);
      const taken = this.options.fleet.vms.byName(each).find((vm) => !vm.isGone);
      if (!taken) continue;
      throw new AppError('already_exists', `there is a VM ${this.options.fleet.label(taken)} already`, {
        vm: each,
        hint: 'take another name, or delete it: domherd vm delete',
      });
    }
    return names;
  }

  private place(
    request: CreateRequest,
    names: readonly string[],
  ): { readonly jobs: readonly Job[]; readonly warnings: readonly string[] } {
    const { fleet } = this.options;
    const found = this.sourcesOf(request);
    const refused = found.flatMap((vm) => this.refusal(vm) ?? []);
    const sources = found.filter((vm) => this.refusal(vm) === undefined);
    const [first] = refused;
    if (sources.length === 0 && first) throw first;
    const free = new Map(fleet.hosts().map(({ host }) => [host.id, host.facts?.memoryFreeMib ?? 0]));
    const hosts = sources.map((vm): PlaceableHost => {
      const memoryMib = request.shape.memoryMib ?? vm.memoryMib;
      return { name: fleet.hostName(vm.hostId), freeMib: free.get(vm.hostId) ?? 0, memoryMib };
    });
    const bySource = new Map(sources.map((vm) => [fleet.hostName(vm.hostId), vm]));
    const jobs = placeVms(names, hosts, request.placement).flatMap(({ name, host }) => {
      const source = bySource.get(host);
      return source ? [{ source, vm: copyOf(source, name, request) }] : [];
    });
    return { jobs, warnings: refused.map(({ message }) => `left out: ${message}`) };
  }

  /** @throws {AppError} `not_found`, `invalid` (a host without such a VM) */
  private sourcesOf({ like, hosts }: CreateRequest): readonly Vm[] {
    const { fleet } = this.options;
    const at = like.lastIndexOf('@');
    const [name, only] = at < 0 ? [like, undefined] : [like.slice(0, at), like.slice(at + 1)];
    const wanted = only === undefined ? hosts : [only];
    const all = fleet.vms.byName(name).filter((vm) => !vm.isGone);
    const isOn = (vm: Vm, host: string): boolean => {
      const hostName = fleet.hostName(vm.hostId);
      return hostName === host || hostName.split('.')[0] === host;
    };
    if (only !== undefined && hosts.some((host) => !all.some((vm) => isOn(vm, host) && isOn(vm, only)))) {
      throw invalid(`copies of ${like} stay on ${only}`, { hint: 'leave --on out, or give --like without a host' });
    }
    const without = wanted.find((host) => !all.some((vm) => isOn(vm, host)));
    if (all.length === 0 || without !== undefined) {
      const where = without === undefined ? '' : ` on ${without}`;
      throw notFound(`there is no VM ${name}${where} to copy`, { vm: like, hint: 'see domherd vm list' });
    }
    const chosen = wanted.length === 0 ? all : all.filter((vm) => wanted.some((host) => isOn(vm, host)));
    const twice = chosen.find((vm) => chosen.some((other) => other !== vm && other.hostId === vm.hostId));
    if (twice) throw invalid(`${fleet.label(twice)} is two VMs`, { hint: 'rename one: name= in its cfg' });
    return chosen;
  }

  private refusal(source: Vm): AppError | undefined {
    const { fleet } = this.options;
    const label = `VM ${fleet.label(source)}`;
    const unreachable = refuseUnreachable(label, fleet.hostName(source.hostId), fleet.isReachable(source.hostId));
    if (unreachable) return unreachable;
    if (source.problem !== undefined) return wrongState(`${label} cannot be copied: ${source.problem}`);
    if (source.cfgPath === undefined) return wrongState(`${label} has no cfg file to copy`);
    if (source.vifs.length === 0) return wrongState(`${label} has no vif: its copies could have no address`);
    if (source.state === 'stopped') return undefined;
    return wrongState(`${label} is ${source.state}: it is copied while it is stopped`, {
      state: source.state,
      hint: `domherd vm shutdown ${fleet.label(source)}`,
    });
  }

  private stepsFor({ source, vm }: Job, reservation: string): readonly PlannedStep[] {
    const { operator, fleet } = this.options;
    return [
      operator.plan(vm, 'copy', `${fleet.label(source)}: cfg and disks, new ssh host keys and machine id`),
      operator.plan(vm, 'size', `${vm.memoryMib} MiB, ${vm.vcpus} vcpus`),
      ...vm.vifs.map(({ index }) => operator.plan(vm, 'take lease', `vif ${index}: the next free of ${reservation}`)),
    ];
  }

  private async createOne(
    { source, vm }: Job,
    request: CreateRequest,
    caller: Caller,
    tell: Tell,
    signal: AbortSignal,
  ): Promise<VmResult> {
    const { operator, fleet } = this.options;
    const { key: sourceKey } = source;
    const action = { kind: 'copy', sourceKey, name: vm.name, uuid: this.newUuid(), shape: request.shape } as const;
    const warnings = await this.disks.run(vm.hostId, async () => {
      signal.throwIfAborted();
      const answer = await operator.order(vm, action, COPY_MS, signal, tell);
      expectDone(answer);
      return answer.kind === 'done' ? (answer.warnings ?? []) : [];
    });
    const made = fleet.vms.byKey(vm.hostId, vm.key);
    if (!made) throw new AppError('internal', `${vm.name} was made, but its host does not tell of it`);
    const addressed = await this.address(made, request, caller, tell, signal).catch((error: unknown) =>
      operator.failure(made, error),
    );
    if (addressed.code !== undefined) return this.takeAway(made, addressed);
    await this.record(made, source, caller);
    return { ...addressed, warnings: [...warnings, ...(addressed.warnings ?? [])] };
  }

  private async address(
    { id }: Vm,
    { reservation, bridge }: CreateRequest,
    caller: Caller,
    tell: Tell,
    signal: AbortSignal,
  ): Promise<VmResult> {
    const selector = { names: [String(id)], all: false };
    const request = { selector, reservation, bridge, address: undefined, isDryRun: false };
    let result: VmResult | undefined;
    for await (const each of this.options.addresser.address(request, caller, signal)) {
      if (each.kind === 'step') tell(each);
      if (each.kind === 'result') result = each;
    }
    if (result) return result;
    throw new AppError('unavailable', 'it was cancelled before it was addressed');
  }

  /** Whatever stopped it: the undoing is not to be stopped. */
  private async takeAway(vm: Vm, failed: VmResult): Promise<VmResult> {
    const { operator } = this.options;
    const never = new AbortController().signal;
    const answer = await operator.order(vm, { kind: 'remove' }, REMOVE_MS, never, () => undefined);
    const undone = answer.kind === 'done' ? 'it was taken away again' : `it is left: ${answer.message}`;
    return { ...failed, state: undefined, message: `${failed.message}; ${undone}` };
  }

  private async record(vm: Vm, source: Vm, caller: Caller): Promise<void> {
    const { journal, operator, fleet } = this.options;
    await journal.submit((tx) =>
      operator.record(tx, caller, vm, {
        kind: 'vm.created',
        message: `VM ${fleet.label(vm)} was made, a copy of ${fleet.label(source)}`,
        details: { source: fleet.label(source) },
      }),
    );
  }

  /** RFC 9562, version 4. */
  private newUuid(): string {
    const bytes = Buffer.from(this.options.random.bytes(16));
    bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
    bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
    return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
  }
}

/** No VM yet: the controller knows it when its host tells of it. */
function copyOf(source: Vm, name: string, { shape }: CreateRequest): Vm {
  const folder = source.key.slice(0, source.key.lastIndexOf('/'));
  const key = `${folder}/${name}.cfg`;
  return {
    ...source,
    id: 0,
    key,
    name,
    cfgPath: key,
    uuid: undefined,
    memoryMib: shape.memoryMib ?? source.memoryMib,
    vcpus: shape.vcpus ?? source.vcpus,
    vifs: source.vifs.map((vif) => ({ ...vif, mac: undefined, guestAddress: undefined })),
    isGone: true,
  };
}
