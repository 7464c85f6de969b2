import { AppError, toAppError, type ErrorCode, type ErrorDetails } from '../../shared/errors.js';
import { formatIpv4 } from '../../shared/domain/ipv4.js';
import type { Labels } from '../../shared/domain/label.js';
import type { Sha256 } from '../../shared/domain/sha256.js';
import type { VmShape } from '../../shared/domain/vm-shape.js';
import type { Caller } from '../domain/caller.js';
import { ownerKey } from '../domain/lease.js';
import { OVERHEAD_MIB } from '../domain/placement.js';
import type { HostId, ObservedVif, Vm } from '../domain/vm.js';
import { isLiveJob, type VmJob, type VmJobId } from '../domain/vm-job.js';
import type { MakeOrder } from '../ports/agent-link.js';
import type { Clock } from '../ports/environment.js';
import type { Stores, Tx } from '../ports/store.js';
import { awaitHost } from './await-host.js';
import type { EarlyLease, EarlyLeaser } from './early-lease.js';
import type { Fleet } from './fleet.js';
import type { Journal } from './journal.js';
import { KeyedQueue } from './keyed-queue.js';
import { Lanes } from './lanes.js';
import type { OrderAnswer } from './order-book.js';
import type { PoolIndex } from './pool-index.js';
import type { VmStarter } from './vm-starter.js';
import type { VmAddresser } from './vm-addresser.js';
import type { VmHoldings } from './vm-holdings.js';
import { orderError, type VmOperator } from './vm-operator.js';
import type { CarryOrder, VmCarrier } from './vm-carrier.js';
import { runEach, type Tell, type VmProgress, type VmResult, type VmStep } from './vm-progress.js';
import { RENAME_JOB, renameOf } from './vm-rename.js';

/** One VM that is to be made. Plain data, which survives JSON. */
export interface MakeIntent {
  readonly name: string;
  readonly hostId: HostId;
  readonly vmKey: string;
  /** For people: what it is made of. */
  readonly source: string;
  /** "a copy of domU@dom0-1" */
  readonly what: string;
  readonly order: MakeOrder | CarryOrder;
  readonly memoryMib: number;
  readonly vcpus: number;
  readonly reservation: string;
  readonly bridge?: string | undefined;
  readonly labels: Labels;
  readonly isStarted: boolean;
  /** Not in what a former version kept. */
  readonly isAutostarted?: boolean | undefined;
}

/** What is kept of a job while it lives; the shape is kept once for its request: user data may be large. */
interface KeptData extends MakeIntent {
  readonly actor: string;
}

/** What is kept of it once it has ended. */
interface MakeOutcome {
  readonly code?: ErrorCode | undefined;
  readonly message: string;
  readonly details: ErrorDetails;
  readonly warnings: readonly string[];
}

/** What a VM that is being made takes of its host. */
export type Reserved = Pick<MakeIntent, 'name' | 'hostId' | 'memoryMib' | 'vcpus' | 'labels'>;

export interface VmMakerOptions {
  readonly fleet: Fleet;
  readonly operator: VmOperator;
  readonly addresser: VmAddresser;
  readonly starter: VmStarter;
  readonly carrier: VmCarrier;
  readonly leaser: EarlyLeaser;
  readonly holdings: VmHoldings;
  readonly pools: PoolIndex;
  readonly journal: Journal;
  readonly clock: Clock;
}

export const CREATE_JOB = 'create';
/** A large image over a slow disk. */
const COPY_MS = 3_600_000;
const REMOVE_MS = 120_000;
/** A link. */
const AUTOSTART_MS = 120_000;
/** One copies while others are addressed. */
const PER_HOST = 4;

/** A job that is worked on, and who follows it. */
interface Making {
  readonly job: VmJob;
  readonly data: KeptData;
  readonly shape: VmShape;
  /** No VM yet: the controller knows it when its host tells of it. */
  readonly vm: Vm;
  readonly caller: Caller;
  readonly abort: AbortController;
  readonly listeners: Set<Tell>;
  readonly tell: Tell;
  readonly result: Promise<VmResult>;
  readonly settle: (result: VmResult) => void;
  /** The host may have begun with it. */
  mayExist: boolean;
  /** Of one whose maker writes its address. */
  early: EarlyLease | undefined;
  /** For who comes later. */
  lastStep: VmStep | undefined;
}

/**
 * Makes VMs, whoever still waits for them and whatever dies meanwhile.
 *
 * Invariants:
 * - What is to be made is kept before its host is told, until the VM is bound to its addresses or nothing of it is left.
 * - After a restart each job is gone on with under the same order id; nothing is made twice.
 * - One that cannot be addressed is taken away again, in reverse: a VM is all of it, or nothing.
 */
export class VmMaker {
  private readonly options: VmMakerOptions;
  private readonly active = new Map<VmJobId, Making>();
  private readonly lanes = new Lanes<HostId>(PER_HOST);
  /** A host's disks are no faster for two copies at once. */
  private readonly disks = new KeyedQueue<HostId>();
  private isStopped = false;

  constructor(options: VmMakerOptions) {
    this.options = options;
  }

  /**
   * Keeps what is to be made; it begins once that is durable. What is asked for by its name is refused to others.
   *
   * @throws {AppError} `already_exists` for a name that is being made
   */
  beginIn(
    tx: Tx,
    intents: readonly MakeIntent[],
    shape: VmShape,
    caller: Caller & { readonly requestId: string },
  ): readonly VmJob[] {
    const { operator, clock } = this.options;
    const { requestId, fingerprint, actor } = caller;
    if (intents.length > 0) tx.jobs.keepShared(requestId, JSON.stringify(shape));
    const jobs = intents.map((intent) => {
      this.refuseReserved(tx, intent.name);
      const data: KeptData = { ...intent, order: { ...intent.order, shape: {} }, actor };
      return tx.jobs.insert({
        ...{ kind: CREATE_JOB, requestId, fingerprint, orderId: operator.newOrderId() },
        ...{ name: intent.name, hostId: intent.hostId, vmKey: intent.vmKey, data: JSON.stringify(data) },
        changedAtMs: clock.nowMs(),
      });
    });
    tx.onCommitted(() => jobs.forEach((job) => void this.work(job, shape, false)));
    return jobs;
  }

  /** @throws {AppError} `already_exists` if a VM of that name is being made, or one is being given it */
  refuseReserved(stores: Stores, name: string): void {
    const rename = stores.jobs.findLive(RENAME_JOB, name);
    if (rename) {
      const { formerName } = renameOf(rename);
      throw new AppError('already_exists', `VM ${formerName} is being renamed to ${name}`, {
        vm: name,
        hint: 'take another name',
      });
    }
    const job = stores.jobs.findLive(CREATE_JOB, name);
    if (!job) return;
    throw new AppError('already_exists', `a VM ${name} is being made on ${this.options.fleet.hostName(job.hostId)}`, {
      vm: name,
      requestId: job.requestId,
      hint: `repeat its command with --request-id ${job.requestId} to follow it, or take another name`,
    });
  }

  /** What jobs that live take of their hosts. */
  reserved(stores: Stores): readonly Reserved[] {
    return stores.jobs.listLive(CREATE_JOB).map((job) => {
      const { memoryMib, ...data } = dataOf(job);
      return { ...data, memoryMib: memoryMib + OVERHEAD_MIB };
    });
  }

  /** After a start of the controller: goes on with what the one before it had begun. */
  resume(): void {
    this.options.journal.read(({ jobs }) => {
      const live = jobs.listLive(CREATE_JOB);
      const requestIds = [...new Set(live.map(({ requestId }) => requestId))];
      const shapes = new Map(requestIds.map((id) => [id, shapeOf(jobs.findShared(id))]));
      for (const job of live) void this.work(job, shapes.get(job.requestId) ?? {}, true);
    });
  }

  /** Whether a VM is just being made of that image there. */
  isMakingOf(hostId: HostId, sha256: Sha256): boolean {
    return [...this.active.values()].some(({ job, data: { order } }) => {
      return (
        job.hostId === hostId &&
        order.kind === 'make' &&
        order.source.kind === 'image' &&
        order.source.sha256 === sha256
      );
    });
  }

  /** What is not whole is undone; the results tell it. @returns how many jobs it was told */
  cancel(requestId: string): number {
    const doomed = [...this.active.values()].filter(({ job }) => job.requestId === requestId);
    for (const { abort } of doomed) abort.abort(new AppError('unavailable', 'it was cancelled'));
    return doomed.length;
  }

  /** Leaves everything as it is on the disk: the next start goes on with it. */
  stop(): void {
    this.isStopped = true;
  }

  /** One result each. A reader who leaves changes nothing. */
  follow(jobs: readonly VmJob[], signal: AbortSignal): AsyncGenerator<VmProgress> {
    return runEach(jobs, jobs.length, signal, (job, tell) => {
      const making = this.active.get(job.id);
      if (!making) return Promise.resolve(this.endedResult(job));
      if (making.lastStep) tell(making.lastStep);
      making.listeners.add(tell);
      return making.result;
    });
  }

  private endedResult(before: VmJob): VmResult {
    const { journal, operator, fleet } = this.options;
    const job = journal.read((stores) => stores.jobs.find(before.id)) ?? before;
    const vm = fleet.vms.byKey(job.hostId, job.vmKey);
    if (isLiveJob(job)) return operator.failure(pseudoVm(job), unfinished());
    const outcome = JSON.parse(job.data) as MakeOutcome;
    const base = operator.done(vm ?? pseudoVm(job), outcome.message, outcome.details);
    return {
      ...base,
      code: outcome.code,
      warnings: outcome.warnings,
      state: vm && !vm.isGone ? base.state : undefined,
    };
  }

  private work(job: VmJob, shape: VmShape, mayExist: boolean): Promise<void> {
    const making = this.follower(job, shape, mayExist);
    this.active.set(job.id, making);
    return this.run(making)
      .catch((error: unknown) => making.settle(this.options.operator.failure(making.vm, error)))
      .finally(() => this.active.delete(job.id));
  }

  private follower(job: VmJob, shape: VmShape, mayExist: boolean): Making {
    const data = dataOf(job);
    const listeners = new Set<Tell>();
    let settle: Making['settle'] = () => undefined;
    const result = new Promise<VmResult>((resolve) => (settle = resolve));
    const making: Making = {
      ...{ job, data, shape, mayExist, listeners, result, settle, early: undefined, lastStep: undefined },
      vm: pseudoVm(job, data),
      caller: { actor: data.actor, requestId: job.requestId, fingerprint: job.fingerprint },
      abort: new AbortController(),
      tell: (step) => {
        making.lastStep = step;
        for (const listener of listeners) listener(step);
      },
    };
    return making;
  }

  private async run(making: Making): Promise<void> {
    const error = making.job.state === 'undoing' ? unfinished() : await this.makeInLane(making);
    if (error === undefined) return;
    if (this.isStopped) return making.settle(this.options.operator.failure(making.vm, unfinished()));
    if (making.mayExist) return this.undo(making, error);
    return this.end(making, 'undone', this.failureOutcome(making, error));
  }

  /** @returns why it failed; `undefined`: it is whole, and has ended */
  private async makeInLane(making: Making): Promise<AppError | undefined> {
    const { job, abort } = making;
    try {
      await this.lanes.run(job.hostId, async () => {
        await this.awaitHost(making, abort.signal);
        abort.signal.throwIfAborted();
        await this.make(making);
      });
      return undefined;
    } catch (error) {
      return toAppError(error);
    }
  }

  private async make(making: Making): Promise<void> {
    const { operator, fleet } = this.options;
    const { job, data, abort } = making;
    const answer = await this.disks.run(job.hostId, async () => {
      abort.signal.throwIfAborted();
      if (!this.isKept(making)) throw hostRemoved();
      if (isToldItsLease(data)) making.early = await this.takeLease(making);
      making.mayExist = true;
      return this.order(making);
    });
    // Its host has undone it already, or never heard of it.
    if (answer.kind === 'failed' || answer.kind === 'unsent') making.mayExist = false;
    if (answer.kind !== 'done') throw orderError(answer);
    const made = fleet.vms.byKey(job.hostId, job.vmKey);
    if (!made || made.isGone) throw new AppError('internal', `${job.name} was made, but its host does not tell of it`);
    const addressed = this.isAddressed(made, data) ? operator.done(made, 'made') : await this.address(making, made);
    await this.setAutostart(making, made);
    const warnings = [...(answer.warnings ?? []), ...(addressed.warnings ?? [])];
    const failure = data.isStarted ? await this.start(making, made) : undefined;
    const { message, details } = addressed;
    if (!failure) return this.end(making, 'done', { message, details, warnings });
    // Whole it is: a start can be repeated.
    const { code } = failure;
    const text = `${message}; it is made, and not started: ${failure.message}`;
    await this.end(making, 'done', { code, message: text, details: failure.details, warnings });
  }

  private async takeLease({ job, data, vm, caller, tell }: Making): Promise<EarlyLease> {
    const early = await this.options.leaser.take(vm, { reservation: data.reservation, bridge: data.bridge }, caller);
    tell(this.options.operator.step(vm, `lease ${formatIpv4(early.lease.address)} to ${job.name}`));
    return early;
  }

  private order({ job, data, shape, vm, early, abort, tell }: Making): Promise<OrderAnswer> {
    const { operator, carrier } = this.options;
    const { orderId } = job;
    const { order } = data;
    if (order.kind !== 'carry') {
      const action = { ...order, shape, ...(early && { vif: early.vif }) };
      return operator.order(vm, action, COPY_MS, abort.signal, tell, { orderId });
    }
    // Under a fresh id each time: a transfer does not outlive the controller, what it made does.
    const { sourceHostId: hostId, sourceKey: key, name, uuid } = order;
    return carrier.carry({ hostId, key, name: data.source }, vm, { copy: { name, uuid, shape } }, abort.signal, tell);
  }

  /** The controller died after it was bound. */
  private isAddressed(vm: Vm, { reservation }: KeptData): boolean {
    const { journal, pools, clock } = this.options;
    const { id } = pools.choose(reservation, clock.nowMs()).reservation;
    return journal.read((stores) =>
      vm.vifs.every(({ index, mac }) => {
        const held = stores.leases.findHeld(id, ownerKey({ kind: 'vif', vmId: vm.id, vifIndex: index }));
        return held?.state === 'bound' && held.mac === mac;
      }),
    );
  }

  /** @throws {AppError} why it has no address */
  private async address({ data, caller, abort, tell }: Making, { id }: Vm): Promise<VmResult> {
    const selector = { names: [String(id)], all: false };
    const request = { ...{ selector, reservation: data.reservation, bridge: data.bridge }, ...NO_CHOICE };
    for await (const each of this.options.addresser.address(request, caller, abort.signal)) {
      if (each.kind === 'step') tell(each);
      if (each.kind !== 'result') continue;
      if (each.code === undefined) return each;
      throw new AppError(each.code, each.message, each.details);
    }
    throw new AppError('unavailable', 'it was cancelled before it was addressed');
  }

  /** Once it is bound: its host starts none without a live lease. What takes it away again takes this back. */
  private async setAutostart({ data, caller, abort, tell }: Making, { id }: Vm): Promise<void> {
    const { operator, fleet } = this.options;
    const vm = fleet.vms.byId(id);
    if (data.isAutostarted !== true || vm === undefined || vm.isAutostarted === true) return;
    const action = { kind: 'setAutostart', isOn: true } as const;
    const answer = await operator.order(vm, action, AUTOSTART_MS, abort.signal, tell);
    if (answer.kind !== 'done') throw orderError(answer);
    await operator.recordDone(caller, vm, 'vm.autostart-set', 'set to be started when its host boots');
  }

  /** @returns why it does not run */
  private async start({ caller, abort, tell }: Making, { id }: Vm): Promise<VmResult | undefined> {
    const { fleet, starter } = this.options;
    const vm = fleet.vms.byId(id);
    if (vm?.state !== 'stopped') return undefined;
    const result = await starter.startNow(vm, caller, tell, abort.signal);
    return result.code === undefined ? undefined : result;
  }

  /** Whatever stopped it: the undoing is not to be stopped, and waits for its host. */
  private async undo(making: Making, error: AppError): Promise<void> {
    const { operator, journal, clock, fleet } = this.options;
    const { job, vm } = making;
    const isKept = await journal.submit((tx) => tx.jobs.setState(job.id, 'undoing', clock.nowMs()));
    if (!isKept) return making.settle(operator.failure(vm, hostRemoved()));
    if (!fleet.isReachable(job.hostId)) making.settle(this.undoneLater(making, error));
    for (;;) {
      await this.awaitHost(making, NEVER);
      if (this.isStopped || !this.isKept(making)) return making.settle(operator.failure(vm, error));
      const answer = await operator.order(vm, { kind: 'remove' }, REMOVE_MS, NEVER, making.tell);
      if (answer.kind === 'unknown' || answer.kind === 'unsent') continue;
      // There is none: it was never begun, or its host has undone it.
      const isGone = answer.kind === 'done' || answer.code === 'not_found';
      if (isGone) await fleet.noteGone(job.hostId, job.vmKey);
      const left = isGone ? 'it was taken away again' : `it is left: ${answer.message}`;
      const { message, ...outcome } = this.failureOutcome(making, error);
      return this.end(making, 'undone', { ...outcome, message: `${message}; ${left}` }, isGone);
    }
  }

  private undoneLater({ vm, job }: Making, error: AppError): VmResult {
    const { operator, fleet } = this.options;
    const later = `what there is of it is taken away when ${fleet.hostName(job.hostId)} is back`;
    const failed = operator.failure(vm, error);
    return { ...failed, state: undefined, message: `${failed.message}; ${later}` };
  }

  /** Ends the job and tells of it, in one transaction. @param isGone its host has said so: what it had is released */
  private async end(making: Making, state: 'done' | 'undone', outcome: MakeOutcome, isGone = false): Promise<void> {
    const { journal, operator, fleet, clock, holdings, leaser } = this.options;
    const { job, caller, data, early, mayExist } = making;
    const isDone = state === 'done';
    const isKept = await journal.submit((tx) => {
      if (!tx.jobs.end(job.id, state, JSON.stringify(outcome), clock.nowMs())) return false;
      const known = fleet.vms.byKey(job.hostId, job.vmKey);
      if (isDone && known) tx.labels.set(known.id, data.labels);
      if (isGone && known) holdings.releaseIn(tx, known, caller, { force: true });
      if (!isDone && !mayExist && early) leaser.giveBackIn(tx, early, caller);
      const label = `VM ${job.name}@${fleet.hostName(job.hostId)}`;
      operator.record(tx, caller, known ?? making.vm, {
        kind: isDone ? 'vm.created' : 'vm.create-undone',
        message: isDone ? `${label} was made, ${data.what}` : `${label} was not made: ${outcome.message}`,
        details: { source: data.source },
      });
      return true;
    });
    if (isKept) making.settle(this.endedResult(job));
    else making.settle(operator.failure(making.vm, hostRemoved()));
  }

  /** What the log is told of an internal error, others are not. */
  private failureOutcome({ vm }: Making, error: AppError): MakeOutcome {
    const { code, message, details } = this.options.operator.failure(vm, error);
    return { code, message, details, warnings: [] };
  }

  private isKept({ job }: Making): boolean {
    return this.options.journal.read((stores) => stores.jobs.find(job.id)) !== undefined;
  }

  private awaitHost(making: Making, signal: AbortSignal): Promise<void> {
    const { fleet, operator } = this.options;
    const { hostId } = making.job;
    if (!fleet.isReachable(hostId)) making.tell(operator.step(making.vm, `waits for host ${fleet.hostName(hostId)}`));
    return awaitHost(fleet, hostId, () => !this.isKept(making), signal);
  }
}

const NEVER = new AbortController().signal;
const NO_CHOICE = { address: undefined, isDryRun: false };

/** Others find their addresses in the files that are written when they are addressed. */
function isToldItsLease({ order }: MakeIntent): boolean {
  return order.kind === 'make' && order.source.kind === 'installer' && order.source.installer === 'xen-tools';
}

function dataOf({ data }: VmJob): KeptData {
  return JSON.parse(data) as KeptData;
}

function hostRemoved(): AppError {
  return new AppError('not_found', 'its host was removed');
}

function shapeOf(text: string | undefined): VmShape {
  return text === undefined ? {} : (JSON.parse(text) as VmShape);
}

function unfinished(): AppError {
  return new AppError('unavailable', 'it was not finished: the controller goes on with it');
}

/** What a job is about where no VM of it is known. */
export function pseudoVm(job: VmJob, data?: Pick<MakeIntent, 'memoryMib' | 'vcpus'>): Vm {
  const vifs: readonly ObservedVif[] = [];
  return {
    ...{ id: 0, hostId: job.hostId, key: job.vmKey, name: job.name, cfgPath: job.vmKey, uuid: undefined },
    ...{ memoryMib: data?.memoryMib ?? 0, vcpus: data?.vcpus ?? 0, vifs, problem: undefined },
    ...{ state: 'stopped' as const, observedAtMs: 0, isGone: true },
  };
}
