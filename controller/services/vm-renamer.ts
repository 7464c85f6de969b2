import type { Logger } from 'pino';
import { parseVmName } from '../../shared/domain/name.js';
import { hostnameFor } from '../../shared/domain/hostname.js';
import { AppError, wrongState } from '../../shared/errors.js';
import type { PlannedStep } from '../domain/address-plan.js';
import type { Caller } from '../domain/caller.js';
import type { Vm } from '../domain/vm.js';
import { isLiveJob, type VmJob, type VmJobId } from '../domain/vm-job.js';
import type { ConfigureGuest } from '../ports/agent-link.js';
import type { Clock } from '../ports/environment.js';
import type { Stores, Tx } from '../ports/store.js';
import { awaitHost } from './await-host.js';
import type { Fleet } from './fleet.js';
import { refuseOtherRequest } from './idempotency.js';
import type { Journal } from './journal.js';
import type { KeyedQueue } from './keyed-queue.js';
import type { OrderAnswer } from './order-book.js';
import { pseudoVm, type VmMaker } from './vm-maker.js';
import { findMoveInTheWay } from './vm-move.js';
import { orderError, type VmOperator } from './vm-operator.js';
import { runEach, type Tell, type VmProgress, type VmResult } from './vm-progress.js';
import type { VmQuery } from './vm-query.js';
import { RENAME_JOB, renameOf, type RenameData } from './vm-rename.js';

export interface RenameRequest {
  /** NAME, or NAME@HOST. */
  readonly vm: string;
  readonly name: string;
  readonly isDryRun: boolean;
}

export interface VmRenamerOptions {
  readonly fleet: Fleet;
  readonly query: VmQuery;
  readonly operator: VmOperator;
  readonly maker: Pick<VmMaker, 'refuseReserved'>;
  readonly journal: Journal;
  readonly clock: Clock;
  readonly log: Logger;
  readonly turns: KeyedQueue<Vm['id']>;
}

/** Checking and editing a guest's file system takes minutes on a large disk. */
const RENAME_MS = 300_000;

/**
 * Gives VMs other names.
 *
 * Invariants:
 * - What is to be renamed is kept before its host is told, until that has said that it has the new name, or the old one.
 * - The row of the VM goes on under its id, with all that it has: it follows the file in the transaction in which the host
 *   tells of it.
 * - A request that comes again with its id is answered as it was, or follows what it began; one that failed is tried anew.
 */
export class VmRenamer {
  private readonly options: VmRenamerOptions;
  private readonly underWay = new Map<VmJobId, Promise<VmResult>>();
  private isStopped = false;

  constructor(options: VmRenamerOptions) {
    this.options = options;
  }

  /** After a start of the controller: goes on with what the one before it had begun. */
  resume(): void {
    for (const job of this.options.journal.read(({ jobs }) => jobs.listLive(RENAME_JOB))) this.goOn(job);
  }

  /** Leaves everything as it is on the disk. */
  stop(): void {
    this.isStopped = true;
  }

  /** A client who leaves changes nothing. */
  async *rename(request: RenameRequest, caller: Caller, signal: AbortSignal): AsyncGenerator<VmProgress> {
    const { query, operator, journal } = this.options;
    const name = parseVmName(request.name);
    const former = request.isDryRun ? undefined : this.formerJob(caller);
    if (former) {
      yield* this.repeat(former, signal);
      return;
    }
    const { vm } = query.get(request.vm);
    const refusal = journal.read((stores) => this.refusal(stores, vm, name));
    yield {
      kind: 'plan',
      steps: refusal || isCalled(vm, name) ? [] : this.stepsFor(vm, name),
      warnings: refusal ? [refusal.message] : [],
    };
    if (request.isDryRun) {
      yield* operator.foresee([vm], [refusal]);
      return;
    }
    yield* runEach([vm], 1, signal, (each, tell) =>
      operator.guard(caller, each, 'rename', () => this.renameOne(each, name, caller, tell)),
    );
  }

  private formerJob({ requestId, fingerprint }: Caller): VmJob | undefined {
    if (requestId === undefined) return undefined;
    const jobs = this.options.journal.read((stores) => stores.jobs.listByRequest(requestId));
    const former = jobs.find(({ kind }) => kind === RENAME_JOB);
    if (former) refuseOtherRequest(former, fingerprint);
    return former;
  }

  private async *repeat(job: VmJob, signal: AbortSignal): AsyncGenerator<VmProgress> {
    const { operator, fleet } = this.options;
    const stand = isLiveJob(job) ? 'it is being renamed' : 'it is renamed';
    yield { kind: 'plan', steps: [operator.plan(job, 'continue', stand)], warnings: [] };
    yield* runEach([job], 1, signal, async (each) => {
      if (!isLiveJob(each)) return this.doneResult(each);
      if (!fleet.isReachable(each.hostId)) return operator.failure(pseudoVm(each), this.hostIsAway(each));
      const { vmId } = renameOf(each);
      return (this.underWay.get(each.id) ?? Promise.reject(cutShort())).catch((error: unknown) =>
        operator.failure(fleet.vms.byId(vmId) ?? pseudoVm(each), error),
      );
    });
  }

  private stepsFor(vm: Vm, name: string): readonly PlannedStep[] {
    const { operator } = this.options;
    const hostname = hostnameFor(name);
    return [
      operator.plan(vm, 'write cfg', `name = ${name}`),
      ...(hostname === undefined ? [] : [operator.plan(vm, 'write guest', `hostname ${hostname}`)]),
      operator.plan(vm, 'rename cfg', `${vm.key} -> ${keyFor(vm, name)}`),
    ];
  }

  private refusal(stores: Stores, vm: Vm, name: string): AppError | undefined {
    const { operator, fleet } = this.options;
    const label = `VM ${fleet.label(vm)}`;
    const refusal = operator.refusal(vm);
    if (refusal) return refusal;
    if (isCalled(vm, name)) return undefined;
    if (vm.cfgPath === undefined) return wrongState(`${label} has no cfg file: it cannot be renamed`);
    if (vm.problem !== undefined) return wrongState(`${label} cannot be renamed: ${vm.problem}`);
    if (vm.state !== 'stopped') {
      return wrongState(`${label} is ${vm.state}: it is renamed while it is stopped`, {
        state: vm.state,
        hint: `domherd vm shutdown ${fleet.label(vm)}`,
      });
    }
    return this.taken(stores, vm, name);
  }

  private taken(stores: Stores, vm: Vm, name: string): AppError | undefined {
    const { fleet, maker } = this.options;
    const key = keyFor(vm, name);
    const there = fleet.vms.byKey(vm.hostId, key);
    const others = [...fleet.vms.byName(name), ...(there ? [there] : [])];
    const other = others.find(({ id, isGone }) => id !== vm.id && !isGone);
    if (other) {
      return new AppError('already_exists', `there is a VM ${fleet.label(other)} already`, {
        vm: name,
        hint: 'take another name, or delete it: domherd vm delete',
      });
    }
    const move = findMoveInTheWay(stores.jobs, vm.id, vm.hostId, key);
    if (move) return wrongState(`VM ${fleet.label(vm)} has to wait: the migration of ${move.vmName} is not over`);
    try {
      maker.refuseReserved(stores, name);
      return undefined;
    } catch (error) {
      if (error instanceof AppError) return error;
      throw error;
    }
  }

  private async renameOne(selected: Vm, name: string, caller: Caller, tell: Tell): Promise<VmResult> {
    const { operator, turns, journal } = this.options;
    // Only begun in its turn: then the job itself keeps others away, and they are told so at once.
    const job = await turns.run(selected.id, () => journal.submit((tx) => this.beginIn(tx, selected, name, caller)));
    if (job === undefined) return operator.done(operator.present(selected), `already called ${name}`);
    return this.carryOut(job, tell, true);
  }

  private beginIn(tx: Tx, selected: Vm, name: string, { actor, ...caller }: Caller): VmJob | undefined {
    const { operator, clock } = this.options;
    const vm = operator.present(selected);
    const refusal = this.refusal(tx, vm, name);
    if (refusal) throw refusal;
    if (isCalled(vm, name)) return undefined;
    const orderId = operator.newOrderId();
    const data: RenameData = { vmId: vm.id, formerName: vm.name, formerKey: vm.key, actor };
    return tx.jobs.insert({
      ...{ kind: RENAME_JOB, requestId: caller.requestId ?? orderId, fingerprint: caller.fingerprint, orderId },
      ...{ name, hostId: vm.hostId, vmKey: keyFor(vm, name), data: JSON.stringify(data) },
      changedAtMs: clock.nowMs(),
    });
  }

  /** @param isFollowed somebody waits, but for no host that is away */
  private carryOut(job: VmJob, tell: Tell, isFollowed: boolean): Promise<VmResult> {
    // Not before it is known to be under way: it may end, or be gone on with, at once.
    const result = Promise.resolve().then(() => this.run(job, tell, isFollowed));
    this.underWay.set(job.id, result);
    const forget = (): void => {
      // Unless it goes on without whoever waited.
      if (this.underWay.get(job.id) === result) this.underWay.delete(job.id);
    };
    result.then(forget, forget);
    return result;
  }

  /** Under the job's order id: a host that has done it says so again. */
  private async run(job: VmJob, tell: Tell, isFollowed: boolean): Promise<VmResult> {
    const { fleet, operator } = this.options;
    const { hostId, formerKey: key, formerName, name, key: cfgPath, vmId } = renameOf(job);
    for (;;) {
      if (isFollowed && !fleet.isReachable(hostId)) throw this.later(job);
      await awaitHost(fleet, hostId, () => this.isStopped || !this.isKept(job));
      if (this.isStopped || !this.isKept(job)) throw cutShort();
      tell(operator.step({ hostId, name: formerName }, `rename it to ${name}`));
      const action = { kind: 'rename', name, cfgPath, guest: this.guestOf(vmId, name) } as const;
      const { orderId } = job;
      const answer = await operator.order({ hostId, key, name: formerName }, action, RENAME_MS, NEVER, tell, {
        orderId,
      });
      if (answer.kind === 'done' || answer.kind === 'failed') return this.end(job, answer);
    }
  }

  /** It goes on without whoever waits. */
  private later(job: VmJob): AppError {
    this.goOn(job);
    return this.hostIsAway(job);
  }

  private hostIsAway(job: VmJob): AppError {
    const { fleet } = this.options;
    const { formerName, name, hostId } = renameOf(job);
    const host = fleet.hostName(hostId);
    return new AppError('unavailable', `host ${host} went away while ${formerName} was renamed to ${name}`, {
      host,
      hint: `it is gone on with when ${host} is back`,
    });
  }

  private async end(job: VmJob, answer: Extract<OrderAnswer, { kind: 'done' | 'failed' }>): Promise<VmResult> {
    const { journal, operator, fleet, clock } = this.options;
    const { vmId, formerName, formerKey, name, hostId, actor } = renameOf(job);
    const warnings = answer.kind === 'done' ? (answer.warnings ?? []) : [];
    const data: RenameData = { vmId, formerName, formerKey, actor, warnings };
    const ended = { ...job, data: JSON.stringify(data) };
    const caller = { actor, requestId: job.requestId, fingerprint: job.fingerprint };
    await journal.submit((tx) => {
      const vm = fleet.vms.byId(vmId);
      if (!tx.jobs.find(job.id) || !vm) return;
      if (answer.kind === 'failed') {
        tx.jobs.remove(job.id);
        return;
      }
      tx.jobs.end(job.id, 'done', ended.data, clock.nowMs());
      const message = `VM ${formerName}@${fleet.hostName(hostId)} was renamed to ${name} by ${actor}`;
      operator.record(tx, caller, vm, { kind: 'vm.renamed', message, details: { from: formerName, to: name } });
    });
    if (answer.kind === 'failed') {
      if (answer.code === 'not_found') await fleet.noteGone(hostId, formerKey);
      throw orderError(answer);
    }
    if (!fleet.vms.byId(vmId)) throw cutShort();
    return this.doneResult(ended);
  }

  /** Whatever has become of the VM since. */
  private doneResult(job: VmJob): VmResult {
    const { operator, fleet } = this.options;
    const { vmId, formerName, name, warnings = [] } = renameOf(job);
    const vm = fleet.vms.byId(vmId);
    const done = operator.done({ ...(vm ?? pseudoVm(job)), name }, `renamed from ${formerName}`);
    return { ...done, state: vm && !vm.isGone ? done.state : undefined, warnings };
  }

  /** What its guest has by its leases stands beside its name in the guest's files. */
  private guestOf(vmId: Vm['id'], name: string): ConfigureGuest {
    const { journal, fleet } = this.options;
    const vifs = fleet.vms.byId(vmId)?.vifs ?? [];
    return journal.read((stores) => {
      const bound = stores.leases.listByVm(vmId).filter(({ state }) => state === 'bound');
      const given = vifs.flatMap(({ index }, n) => {
        const lease = bound.find(({ owner }) => owner.kind === 'vif' && owner.vifIndex === index);
        const reservation = lease && stores.reservations.findById(lease.reservationId);
        if (!lease || !reservation) return [];
        const { settings, endsAtMs: leaseEndsAtMs } = reservation;
        return [{ index, mac: lease.mac, address: lease.address, settings, hasDefaultRoute: n === 0, leaseEndsAtMs }];
      });
      return { vifs: given, hostname: hostnameFor(name) };
    });
  }

  private isKept({ id }: VmJob): boolean {
    return this.options.journal.read(({ jobs }) => jobs.find(id)) !== undefined;
  }

  private goOn(job: VmJob): void {
    this.carryOut(job, () => undefined, false).catch((error: unknown) => {
      this.options.log.warn({ err: error, vm: job.name }, 'a VM could not be renamed');
    });
  }
}

const NEVER = new AbortController().signal;

/** The file is called as the VM, whatever it was called before. */
function keyFor({ key }: Vm, name: string): string {
  return `${key.slice(0, key.lastIndexOf('/'))}/${name}.cfg`;
}

function isCalled(vm: Vm, name: string): boolean {
  return vm.name === name && vm.key === keyFor(vm, name);
}

function cutShort(): AppError {
  return new AppError('unavailable', 'the controller was stopped in the middle: the next one goes on with it');
}
