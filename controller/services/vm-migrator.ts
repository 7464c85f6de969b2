import type { Logger } from 'pino';
import { AppError, invalid, toAppError, wrongState } from '../../shared/errors.js';
import type { Storage } from '../../shared/domain/vm-shape.js';
import type { PlannedStep } from '../domain/address-plan.js';
import type { Caller } from '../domain/caller.js';
import type { Host } from '../domain/host.js';
import type { HostId, Vm } from '../domain/vm.js';
import type { VmJob } from '../domain/vm-job.js';
import type { Clock } from '../ports/environment.js';
import type { Tx } from '../ports/store.js';
import { awaitHost } from './await-host.js';
import type { Fleet } from './fleet.js';
import type { Journal } from './journal.js';
import { Followed } from './followed.js';
import { hasCome, runCourse } from './live-course.js';
import { KeyedQueue } from './keyed-queue.js';
import { isUp, keyThere, refuseLive, refuseStorage, refuseTarget } from './migrate-refusal.js';
import type { VmCarrier } from './vm-carrier.js';
import { findMoveInTheWay, LEAVE_JOB, MIGRATE_JOB, moveOf, type MoveData } from './vm-move.js';
import { expectDone, orderError, type VmOperator } from './vm-operator.js';
import { runEach, type Tell, type VmProgress, type VmResult } from './vm-progress.js';
import type { VmQuery } from './vm-query.js';
import type { VerbRequest } from './vm-service.js';
import type { VmStarter } from './vm-starter.js';

export interface MigrateRequest extends VerbRequest {
  /** Name of the host. */
  readonly to: string;
  readonly isCold: boolean;
  /** 1 to 3,600. */
  readonly timeoutSeconds: number;
  readonly isDestroyedAfter: boolean;
  /** How the disks of cold ones are kept there; `undefined`: in files. */
  readonly storage?: Storage | undefined;
}

export interface VmMigratorOptions {
  readonly fleet: Fleet;
  readonly query: VmQuery;
  readonly operator: VmOperator;
  readonly starter: VmStarter;
  readonly carrier: VmCarrier;
  readonly journal: Journal;
  readonly clock: Clock;
  readonly log: Logger;
  readonly turns: KeyedQueue<Vm['id']>;
}

/** For the agent to see that the guest is gone, and to destroy it, after its own patience. */
const SHUTDOWN_MARGIN_MS = 150_000;
const MAX_ORDER_MS = 3_600_000;
const REMOVE_MS = 300_000;
const AUTOSTART_MS = 120_000;
/** That its new host fails to say whether it has come. */
const MAX_TRIES = 3;
/** One shuts down while another is copied. */
const PARALLEL = 2;

interface Failure {
  readonly error: AppError;
  /** On the new host there may be something of it. */
  readonly mayExist: boolean;
  /** Whether it was shut down is not known. */
  readonly isUnsure: boolean;
}

/**
 * Takes VMs to other hosts.
 *
 * Invariants:
 * - A VM is its former host's until one transaction makes it its new host's: cut short before, it is undone there; after, it is
 *   gone on with here. At any time one of both has all of it, and the other's is refused to all who would touch it.
 * - Nothing of the former host's is taken away before that transaction is durable.
 */
export class VmMigrator {
  private readonly options: VmMigratorOptions;
  /** A host's disks are no faster for two copies at once. */
  private readonly copies = new KeyedQueue<HostId>();
  /** By VM. */
  private readonly underWay = new Map<Vm['id'], Followed>();
  private isStopped = false;

  constructor(options: VmMigratorOptions) {
    this.options = options;
  }

  /** After a start of the controller: undoes or goes on with what the one before it had begun. */
  resume(): void {
    const { begun, moved } = this.options.journal.read(({ jobs }) => ({
      begun: jobs.listLive(MIGRATE_JOB),
      moved: jobs.listLive(LEAVE_JOB),
    }));
    for (const job of begun) {
      const cut = { error: cutShort(), mayExist: true, isUnsure: true };
      this.goOn(job, (tell) =>
        isLive(job) ? this.decide(job, cut.error, callerOf(job), tell, true) : this.undo(job, cut, tell, true),
      );
    }
    for (const job of moved) this.goOn(job, (tell) => this.finish(job, tell));
  }

  /** Leaves everything as it is on the disk. */
  stop(): void {
    this.isStopped = true;
  }

  /** A client who leaves before a copy is whole has it undone. */
  async *migrate(request: MigrateRequest, caller: Caller, signal: AbortSignal): AsyncGenerator<VmProgress> {
    const { query, operator } = this.options;
    const host = this.hostOf(request.to);
    const vms = query.select(request.selector);
    const refusals = vms.map((vm) => this.refusal(vm, host, request));
    yield {
      kind: 'plan',
      steps: vms.flatMap((vm, n) => (refusals[n] ? [] : this.stepsFor(vm, host, request.isCold))),
      warnings: refusals.flatMap((refusal) => (refusal ? [refusal.message] : [])),
    };
    if (request.isDryRun) {
      yield* operator.foresee(vms, refusals);
      return;
    }
    yield* runEach(vms, PARALLEL, signal, (vm, tell, stop) =>
      operator.guard(caller, vm, 'migrate', () => this.migrateOne(vm, host, request, caller, tell, stop)),
    );
  }

  /** @throws {AppError} `not_found`, `invalid` */
  private hostOf(to: string): Host {
    const { query, fleet } = this.options;
    const [name = to, ...others] = query.selectHosts([to]);
    if (others.length > 0) throw invalid(`${to} is several hosts: a VM goes to one`, { host: to });
    return fleet.host(name).host;
  }

  private stepsFor(vm: Vm, host: Host, isCold: boolean): readonly PlannedStep[] {
    const { operator, fleet } = this.options;
    if (vm.hostId === host.id) return [];
    const there = { name: vm.name, hostId: host.id };
    if (!isCold) {
      return [
        operator.plan(there, 'let in', `${keyThere(vm, host)}, if its disks are the same devices there`),
        operator.plan(vm, 'send', `it runs on, and is ${host.name}'s at the end`),
        operator.plan(vm, 'remove', `${vm.cfgPath ?? ''}, without its disks`),
      ];
    }
    return [
      ...(isUp(vm) ? [operator.plan(vm, 'shut down', vm.state)] : []),
      operator.plan(there, 'copy', `${keyThere(vm, host)} and its disks, from ${fleet.hostName(vm.hostId)}`),
      operator.plan(vm, 'remove', `${vm.cfgPath ?? ''} and its disks, once ${host.name} has them`),
      ...(isUp(vm) ? [operator.plan(there, 'start', '')] : []),
    ];
  }

  private refusal(vm: Vm, host: Host, { isCold, storage }: MigrateRequest): AppError | undefined {
    const { operator, starter, fleet, journal } = this.options;
    if (this.followed(vm, host)) return undefined;
    const refusal = operator.refusal(vm);
    if (refusal) return refusal;
    if (vm.hostId === host.id) return undefined;
    const notLive = isCold ? undefined : refuseLive(`VM ${fleet.label(vm)}`, vm);
    if (notLive) return notLive;
    const move = journal.read(({ jobs }) => findMoveInTheWay(jobs, vm.id, host.id, keyThere(vm, host)));
    if (move) return this.inTheWay(vm, move);
    // Asked first: a VM that may not start again is not shut down.
    const refused = refuseTarget(fleet, vm, host) ?? refuseStorage(fleet, host, storage);
    return refused ?? (isUp(vm) && isCold ? starter.objection(vm) : undefined);
  }

  private inTheWay(vm: Vm, { vmName, sourceHostId, targetHostId }: MoveData): AppError {
    const { fleet } = this.options;
    const [from, to] = [fleet.hostName(sourceHostId), fleet.hostName(targetHostId)];
    return wrongState(
      `VM ${fleet.label(vm)} has to wait: the migration of ${vmName} from ${from} to ${to} is not over`,
      {
        vm: vm.name,
        hint: `it goes on by itself when both are online; for good without one of them: domherd host remove`,
      },
    );
  }

  private async migrateOne(
    selected: Vm,
    host: Host,
    request: MigrateRequest,
    caller: Caller,
    tell: Tell,
    signal: AbortSignal,
  ): Promise<VmResult> {
    const { operator, turns, journal } = this.options;
    // Only begun in its turn: then the job itself keeps others away, and they are told so at once.
    const followed = await turns.run(selected.id, async () => {
      const vm = operator.present(selected);
      const present = this.followed(vm, host);
      if (present) return present;
      const refusal = this.refusal(vm, host, request);
      if (refusal) throw refusal;
      if (vm.hostId === host.id) return undefined;
      const job = await journal.submit((tx) => this.beginIn(tx, vm, host, request, caller));
      return this.follow(job, (tellAll) => this.run(job, caller, tellAll, signal));
    });
    if (followed === undefined) return operator.done(operator.present(selected), `already on ${host.name}`);
    return followed.join(tell);
  }

  private async run(job: VmJob, caller: Caller, tell: Tell, signal: AbortSignal): Promise<VmResult> {
    if (isLive(job)) return this.bringLive(job, caller, tell, signal);
    const outcome = await this.bring(job, caller, tell, signal);
    return 'error' in outcome ? this.undo(job, outcome, tell, false) : this.finish(outcome, tell);
  }

  /** The same asked again while it is under way. */
  private followed(vm: Pick<Vm, 'id'>, host: Host): Followed | undefined {
    const found = this.underWay.get(vm.id);
    return found?.hostId === host.id ? found : undefined;
  }

  private follow(job: VmJob, work: (tell: Tell) => Promise<VmResult>): Followed {
    const { vmId, targetHostId } = moveOf(job);
    const followed = new Followed(targetHostId, work);
    this.underWay.set(vmId, followed);
    const forget = (): void => void this.underWay.delete(vmId);
    followed.result.then(forget, forget);
    return followed;
  }

  private async bringLive(job: VmJob, caller: Caller, tell: Tell, signal: AbortSignal): Promise<VmResult> {
    const move = moveOf(job);
    const course = { migrationId: move.migrationId ?? '', source: sourceOf(move), target: targetOf(move) };
    const end = await runCourse(this.options.operator, course, tell, signal);
    if (end.kind === 'open') return this.decide(job, end.error, caller, tell, false);
    return this.undo(job, { error: end.error, mayExist: false, isUnsure: false }, tell, false);
  }

  /** Its new host says whether it has come. @param why it should not have */
  private async decide(
    job: VmJob,
    why: AppError | undefined,
    caller: Caller,
    tell: Tell,
    isResumed: boolean,
  ): Promise<VmResult> {
    const { operator, journal, fleet } = this.options;
    const move = moveOf(job);
    const isCome = await this.askArrival(job, tell);
    if (isCome === undefined) {
      const vm = fleet.vms.byId(move.vmId) ?? pseudoVm(move);
      return operator.failure(vm, cutShort());
    }
    if (isCome) return this.finish(await journal.submit((tx) => this.moveIn(tx, job, caller)), tell);
    await fleet.noteGone(move.targetHostId, move.targetKey);
    const error = why ?? new AppError('raced', `${move.vmName} has not come to its new host`);
    return this.undo(job, { error, mayExist: false, isUnsure: false }, tell, isResumed);
  }

  /** However often the host goes away meanwhile. @returns `undefined`: the next controller asks it */
  private async askArrival(job: VmJob, tell: Tell): Promise<boolean | undefined> {
    const { operator } = this.options;
    const { migrationId = '', targetHostId, vmName, ...move } = moveOf(job);
    const target = targetOf({ ...move, targetHostId, vmName });
    const action = { kind: 'settleArrival', migrationId } as const;
    for (let tries = 0; tries < MAX_TRIES;) {
      await this.reach(targetHostId, job, tell, vmName);
      if (this.isStopped || this.isForgotten(job)) return undefined;
      const answer = await operator.order(target, action, REMOVE_MS, NEVER, tell);
      const isCome = hasCome(answer);
      if (isCome !== undefined) return isCome;
      if (answer.kind === 'failed') tries++;
    }
    return undefined;
  }

  /** @throws {AppError} `wrong_state` if another migration is in the way by now */
  private beginIn(tx: Tx, vm: Vm, host: Host, request: MigrateRequest, caller: Caller): VmJob {
    const { operator, clock } = this.options;
    const targetKey = keyThere(vm, host);
    const other = findMoveInTheWay(tx.jobs, vm.id, host.id, targetKey);
    if (other) throw this.inTheWay(vm, other);
    const orderId = operator.newOrderId();
    const data: MoveData = {
      ...{ vmId: vm.id, vmName: vm.name, sourceHostId: vm.hostId, sourceKey: vm.key, targetHostId: host.id, targetKey },
      ...{ actor: caller.actor, wasUp: isUp(vm), isAutostarted: vm.isAutostarted ?? false },
      ...{ timeoutSeconds: request.timeoutSeconds, isDestroyedAfter: request.isDestroyedAfter },
      ...{ removeOrderId: operator.newOrderId(), storage: request.storage },
      ...(!request.isCold && { migrationId: operator.newOrderId() }),
    };
    return tx.jobs.insert({
      ...{ kind: MIGRATE_JOB, requestId: caller.requestId ?? orderId, fingerprint: caller.fingerprint, orderId },
      ...{ name: `${vm.name}@${host.name}`, hostId: host.id, vmKey: targetKey, data: JSON.stringify(data) },
      changedAtMs: clock.nowMs(),
    });
  }

  /** @returns what is left to be done once it is there */
  private async bring(job: VmJob, caller: Caller, tell: Tell, signal: AbortSignal): Promise<VmJob | Failure> {
    let mayExist = false;
    let isUnsure = false;
    try {
      const stopped = await this.shutDown(job, tell, signal);
      isUnsure = stopped.kind === 'unknown';
      expectDone(stopped);
      mayExist = true;
      const answer = await this.copies.run(job.hostId, () => this.carry(job, tell, signal));
      // Its host has undone it already, or never heard of it.
      if (answer.kind === 'failed' || answer.kind === 'unsent') mayExist = false;
      if (answer.kind !== 'done') throw orderError(answer);
      return await this.options.journal.submit((tx) => this.moveIn(tx, job, caller));
    } catch (error) {
      return { error: toAppError(error), mayExist, isUnsure };
    }
  }

  /** Under the job's order id: what it came to can be asked again. */
  private async shutDown(job: VmJob, tell: Tell, signal: AbortSignal) {
    const { operator } = this.options;
    const { wasUp, timeoutSeconds, isDestroyedAfter, ...move } = moveOf(job);
    if (!wasUp) return { kind: 'done', vm: undefined } as const;
    const action = { kind: 'shutdown', timeoutSeconds, isDestroyedAfter } as const;
    const limitMs = Math.min(timeoutSeconds * 1000 + SHUTDOWN_MARGIN_MS, MAX_ORDER_MS);
    return operator.order(sourceOf(move), action, limitMs, signal, tell, { orderId: job.orderId });
  }

  private carry(job: VmJob, tell: Tell, signal: AbortSignal) {
    const { storage, ...move } = moveOf(job);
    const wanted = { copy: undefined, storage };
    return this.options.carrier.carry(sourceOf(move), targetOf(move), wanted, signal, tell);
  }

  /** The one step that decides whose it is. @returns the job that takes the place of this one */
  private moveIn(tx: Tx, job: VmJob, caller: Caller): VmJob {
    const { fleet, operator, clock } = this.options;
    const move = moveOf(job);
    const [vm, made] = [fleet.vms.byId(move.vmId), fleet.vms.byKey(move.targetHostId, move.targetKey)];
    if (!tx.jobs.find(job.id) || !vm)
      throw new AppError('not_found', `a host of ${move.vmName} was removed, or it is gone`);
    if (!made || made.isGone)
      throw new AppError('internal', `${move.vmName} came, but its new host does not tell of it`);
    if (vm.state !== 'stopped' && !isLive(job))
      throw new AppError('raced', `${move.vmName} is ${vm.state}: it was stopped to be copied`);
    const [from, to] = [fleet.hostName(vm.hostId), fleet.hostName(made.hostId)];
    const moved = fleet.moveIn(tx, vm, made);
    tx.jobs.remove(job.id);
    operator.record(tx, caller, moved, {
      kind: 'vm.migrated',
      message: `VM ${moved.name} was migrated from ${from} to ${to} by ${caller.actor}`,
      details: { from, to },
    });
    return tx.jobs.insert({
      ...{ ...job, kind: LEAVE_JOB, name: `${move.vmName}@${from}`, hostId: move.sourceHostId, vmKey: move.sourceKey },
      ...{ orderId: operator.newOrderId(), changedAtMs: clock.nowMs() },
    });
  }

  /** It is on its new host: what is left on the former one goes, then it starts if it ran. */
  private async finish(job: VmJob, tell: Tell): Promise<VmResult> {
    const { operator, fleet, journal } = this.options;
    const move = moveOf(job);
    const [left, warnings]: [string[], string[]] = [[], []];
    const action = leaveAction(move);
    // Side by side: it is not to wait for a host that may be gone for good.
    const [problem, started] = await Promise.all([
      this.takeAway(job, sourceOf(move), action, job.orderId, tell, left),
      this.settleIn(job, warnings, tell),
    ]);
    if (problem !== undefined) left.push(`what is left on ${fleet.hostName(move.sourceHostId)}: ${problem}`);
    warnings.unshift(...left);
    const vm = fleet.vms.byId(move.vmId);
    if (this.isStopped || !vm) return operator.failure(vm ?? pseudoVm(move), cutShort());
    await journal.submit((tx) => {
      tx.jobs.remove(job.id);
      if (left.length === 0) return;
      const message = `VM ${vm.name}: ${left.join('; ')}`;
      operator.record(tx, callerOf(job), vm, { kind: 'vm.left-behind', message, details: {} });
    });
    const message = `migrated to ${fleet.hostName(vm.hostId)}${isLive(job) ? ', live' : ''}`;
    if (started?.code === undefined)
      return { ...operator.done(vm, started ? `${message}, started` : message), warnings };
    const text = `${message}; it is not started: ${started.message}`;
    return { ...started, message: text, warnings };
  }

  /** @param warnings to be added to @returns how it started, if it is to be */
  private async settleIn(job: VmJob, warnings: string[], tell: Tell): Promise<VmResult | undefined> {
    const move = moveOf(job);
    if (!move.wasUp && !move.isAutostarted) return undefined;
    await this.reach(move.targetHostId, job, tell, move.vmName);
    const vm = this.options.fleet.vms.byId(move.vmId);
    if (this.isStopped || !vm) return undefined;
    if (move.isAutostarted) warnings.push(...(await this.setAutostart(vm, true, tell)));
    return move.wasUp && !isLive(job) ? this.start(vm, callerOf(job), tell) : undefined;
  }

  /** Where it was it starts again if it ran; of its new host nothing is to be left. */
  private async undo(job: VmJob, failure: Failure, tell: Tell, isResumed: boolean): Promise<VmResult> {
    const { operator, journal, clock, fleet } = this.options;
    const { vmId, sourceHostId, targetHostId } = moveOf(job);
    const vm = fleet.vms.byId(vmId) ?? pseudoVm(moveOf(job));
    if (this.isStopped) return operator.failure(vm, cutShort());
    await journal.submit((tx) => tx.jobs.setState(job.id, 'undoing', clock.nowMs()));
    const rest = this.tidy(job, vm, failure, tell);
    const failed = operator.failure(vm, failure.error);
    if (isResumed || [sourceHostId, targetHostId].every((id) => fleet.isReachable(id))) {
      const note = await rest;
      return note === undefined
        ? failed
        : { ...failed, message: `${failed.message}; it is not started again: ${note}` };
    }
    rest.catch((error: unknown) => this.warn(job, error));
    return { ...failed, message: `${failed.message}; the rest is undone when both hosts are online` };
  }

  /** @returns why it does not run where it was */
  private async tidy(job: VmJob, vm: Vm, failure: Failure, tell: Tell): Promise<string | undefined> {
    const move = moveOf(job);
    if (isLive(job)) {
      const { migrationId = '' } = move;
      const action = { kind: 'settleDeparture', migrationId, isMoved: false } as const;
      await this.takeAway(job, sourceOf(move), action, move.removeOrderId, tell);
    }
    const notStarted = move.wasUp ? await this.startAgain(job, failure, tell) : undefined;
    const problem = failure.mayExist
      ? await this.takeAway(job, targetOf(move), { kind: 'remove' }, move.removeOrderId, tell)
      : undefined;
    if (this.isStopped) return notStarted;
    const left = problem === undefined ? '' : `; what is left there: ${problem}`;
    await this.options.journal.submit((tx) => this.endIn(tx, job, vm, `${failure.error.message}${left}`));
    return notStarted;
  }

  /** @returns why it does not run where it was */
  private async startAgain(job: VmJob, { isUnsure }: Failure, tell: Tell): Promise<string | undefined> {
    const { fleet } = this.options;
    const { sourceHostId, vmId, vmName } = moveOf(job);
    await this.reach(sourceHostId, job, tell, vmName);
    if (this.isStopped || !fleet.vms.byId(vmId)) return undefined;
    // It may be shutting down still: the same order again tells when it has.
    if (isUnsure) await this.shutDown(job, tell, NEVER);
    const vm = fleet.vms.byId(vmId);
    if (vm?.state !== 'stopped') return undefined;
    const started = await this.start(vm, callerOf(job), tell);
    return started.code === undefined ? undefined : started.message;
  }

  private endIn(tx: Tx, job: VmJob, vm: Vm, why: string): void {
    const { operator, fleet } = this.options;
    const { targetHostId } = moveOf(job);
    // Its host was removed, and the job with it.
    if (!tx.jobs.find(job.id)) return;
    tx.jobs.remove(job.id);
    const message = `VM ${fleet.label(vm)} was not migrated to ${fleet.hostName(targetHostId)}: ${why}`;
    operator.record(tx, callerOf(job), vm, { kind: 'vm.migrate-undone', message, details: {} });
  }

  /**
   * However often the host goes away meanwhile; under the same id, so that it hits nothing that came later.
   *
   * @param warnings to be added to
   * @returns why not
   */
  private async takeAway(
    job: VmJob,
    place: Pick<Vm, 'hostId' | 'key' | 'name'>,
    action: AwayAction,
    orderId: string,
    tell: Tell,
    warnings: string[] = [],
  ): Promise<string | undefined> {
    const { operator, fleet } = this.options;
    for (;;) {
      await this.reach(place.hostId, job, tell, place.name);
      if (this.isStopped || this.isForgotten(job)) return undefined;
      const answer = await operator.order(place, action, REMOVE_MS, NEVER, tell, { orderId });
      if (answer.kind === 'unknown' || answer.kind === 'unsent') continue;
      if (answer.kind === 'failed' && answer.code !== 'not_found') return answer.message;
      if (answer.kind === 'done') {
        warnings.push(...(answer.warnings ?? []).map((text) => `${fleet.hostName(place.hostId)}: ${text}`));
      }
      if (isGoneBy(action)) await fleet.noteGone(place.hostId, place.key);
      return undefined;
    }
  }

  private start(vm: Vm, caller: Caller, tell: Tell): Promise<VmResult> {
    return this.options.starter.startNow(vm, caller, tell, NEVER);
  }

  /** @returns warnings */
  private async setAutostart(vm: Vm, isOn: boolean, tell: Tell): Promise<readonly string[]> {
    const answer = await this.options.operator.order(vm, { kind: 'setAutostart', isOn }, AUTOSTART_MS, NEVER, tell);
    return answer.kind === 'done' ? [] : [`its host does not start it at boot: ${answer.message}`];
  }

  private async reach(hostId: HostId, job: VmJob, tell: Tell, name: string): Promise<void> {
    const { fleet, operator } = this.options;
    if (fleet.isReachable(hostId)) return;
    tell(operator.step({ hostId, name }, `waits for host ${fleet.hostName(hostId)}`));
    await awaitHost(fleet, hostId, () => this.isStopped || this.isForgotten(job) || this.isUnknown(hostId));
  }

  private isForgotten({ id }: VmJob): boolean {
    return this.options.journal.read(({ jobs }) => jobs.find(id)) === undefined;
  }

  private isUnknown(hostId: HostId): boolean {
    return this.options.journal.read(({ hosts }) => hosts.findById(hostId)) === undefined;
  }

  private goOn(job: VmJob, work: (tell: Tell) => Promise<VmResult>): void {
    this.follow(job, work).result.catch((error: unknown) => this.warn(job, error));
  }

  private warn(job: VmJob, error: unknown): void {
    this.options.log.warn({ err: error, vm: job.name }, 'a migration could not be gone on with');
  }
}

type AwayAction =
  | { readonly kind: 'leave' | 'remove' }
  | { readonly kind: 'settleDeparture'; readonly migrationId: string; readonly isMoved: boolean };

function leaveAction({ migrationId }: MoveData): AwayAction {
  return migrationId === undefined ? { kind: 'leave' } : { kind: 'settleDeparture', migrationId, isMoved: true };
}

function isGoneBy(action: AwayAction): boolean {
  return action.kind !== 'settleDeparture' || action.isMoved;
}

function isLive(job: VmJob): boolean {
  return moveOf(job).migrationId !== undefined;
}

const NEVER = new AbortController().signal;

function cutShort(): AppError {
  return new AppError(
    'unavailable',
    'the controller was stopped in the middle: the next one undoes it, or goes on with it',
  );
}

function callerOf(job: VmJob): Caller {
  return { actor: moveOf(job).actor, requestId: job.requestId, fingerprint: job.fingerprint };
}

type Place = Pick<Vm, 'hostId' | 'key' | 'name'>;

function sourceOf(move: Pick<MoveData, 'sourceHostId' | 'sourceKey' | 'vmName'>): Place {
  return { hostId: move.sourceHostId, key: move.sourceKey, name: move.vmName };
}

function targetOf(move: Pick<MoveData, 'targetHostId' | 'targetKey' | 'vmName'>): Place {
  return { hostId: move.targetHostId, key: move.targetKey, name: move.vmName };
}

/** Of a VM whose row is gone. */
function pseudoVm(move: MoveData): Vm {
  return {
    ...{ ...sourceOf(move), id: 0, cfgPath: move.sourceKey, uuid: undefined, state: 'unknown', memoryMib: 0, vcpus: 0 },
    ...{ vifs: [], problem: undefined, observedAtMs: 0, isGone: true },
  };
}
