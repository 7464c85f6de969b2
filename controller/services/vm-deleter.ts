import type { Logger } from 'pino';
import { formatIpv4 } from '../../shared/domain/ipv4.js';
import { wrongState, type AppError } from '../../shared/errors.js';
import type { PlannedStep } from '../domain/address-plan.js';
import type { Caller } from '../domain/caller.js';
import type { Vm } from '../domain/vm.js';
import type { VmJob } from '../domain/vm-job.js';
import type { Clock } from '../ports/environment.js';
import type { Tx } from '../ports/store.js';
import { awaitHost } from './await-host.js';
import type { Fleet } from './fleet.js';
import type { Journal } from './journal.js';
import type { KeyedQueue } from './keyed-queue.js';
import { releaseSteps, type Holdings, type VmHoldings } from './vm-holdings.js';
import { orderError, type VmOperator } from './vm-operator.js';
import { runEach, type Tell, type VmProgress, type VmResult } from './vm-progress.js';
import type { VmQuery } from './vm-query.js';
import type { VerbRequest } from './vm-service.js';

export interface VmDeleterOptions {
  readonly fleet: Fleet;
  readonly query: VmQuery;
  readonly operator: VmOperator;
  readonly holdings: VmHoldings;
  readonly journal: Journal;
  readonly clock: Clock;
  readonly log: Logger;
  readonly turns: KeyedQueue<Vm['id']>;
}

const DELETE_JOB = 'delete';

/** What is kept of a job. */
interface KeptData {
  readonly vmId: Vm['id'];
  readonly actor: string;
}

const REMOVE_MS = 300_000;
const PARALLEL = 32;

/**
 * Takes VMs away that domherd made: cfg, disks, leases.
 *
 * Invariants:
 * - What a VM has is released only once its host has said that the VM is gone.
 * - What its host was told is kept until then: after a restart, or when an answer is missing, it is gone on with.
 */
export class VmDeleter {
  private readonly options: VmDeleterOptions;
  private isStopped = false;

  constructor(options: VmDeleterOptions) {
    this.options = options;
  }

  /** After a start of the controller: goes on with what the one before it had begun. */
  resume(): void {
    for (const job of this.options.journal.read(({ jobs }) => jobs.listLive(DELETE_JOB))) void this.goOn(job);
  }

  /** Leaves everything as it is on the disk. */
  stop(): void {
    this.isStopped = true;
  }

  async *delete({ selector, isDryRun }: VerbRequest, caller: Caller, signal: AbortSignal): AsyncGenerator<VmProgress> {
    const { query, operator, turns, journal, holdings } = this.options;
    const vms = query.select(selector);
    const refusals = vms.map((vm) => this.refusal(vm));
    const due = vms.filter((_, n) => !refusals[n]);
    const steps = journal.read((stores) => due.flatMap((vm) => this.stepsFor(vm, holdings.find(stores, vm))));
    yield { kind: 'plan', steps, warnings: refusals.flatMap((refusal) => (refusal ? [refusal.message] : [])) };
    if (isDryRun) {
      yield* operator.foresee(vms, refusals);
      return;
    }
    yield* runEach(vms, PARALLEL, signal, (vm, tell, stop) =>
      operator.guard(caller, vm, 'delete', () =>
        turns.run(vm.id, () => this.deleteOne(operator.present(vm), caller, tell, stop)),
      ),
    );
  }

  private stepsFor(vm: Vm, holdings: Holdings): readonly PlannedStep[] {
    const { operator } = this.options;
    return [
      operator.plan(vm, 'remove', `${vm.cfgPath ?? ''} and the disks that were made for it`),
      ...releaseSteps(holdings).map(([action, detail]) => operator.plan(vm, action, detail)),
    ];
  }

  private refusal(vm: Vm): AppError | undefined {
    const { operator, fleet } = this.options;
    const name = fleet.label(vm);
    const refusal = operator.refusal(vm);
    if (refusal || vm.state === 'stopped') return refusal;
    return wrongState(`VM ${name} is ${vm.state}: it is deleted while it is stopped`, {
      state: vm.state,
      hint: `domherd vm shutdown ${name}, or domherd vm destroy ${name}`,
    });
  }

  private async deleteOne(vm: Vm, caller: Caller, tell: Tell, signal: AbortSignal): Promise<VmResult> {
    const refusal = this.refusal(vm);
    if (refusal) throw refusal;
    const job = await this.options.journal.submit((tx) => this.beginIn(tx, vm, caller));
    return this.remove(job, vm, caller, tell, signal);
  }

  /** @throws {AppError} `wrong_state` if that is being done */
  private beginIn(tx: Tx, vm: Vm, caller: Caller): VmJob {
    const { operator, fleet, clock } = this.options;
    const name = fleet.label(vm);
    if (tx.jobs.findLive(DELETE_JOB, name)) throw wrongState(`VM ${name} is being deleted`, { vm: name });
    const data: KeptData = { vmId: vm.id, actor: caller.actor };
    const orderId = operator.newOrderId();
    return tx.jobs.insert({
      ...{ kind: DELETE_JOB, requestId: caller.requestId ?? orderId, fingerprint: caller.fingerprint, orderId },
      ...{ name, hostId: vm.hostId, vmKey: vm.key, data: JSON.stringify(data), changedAtMs: clock.nowMs() },
    });
  }

  private async remove(job: VmJob, vm: Vm, caller: Caller, tell: Tell, signal: AbortSignal): Promise<VmResult> {
    const { operator, journal, fleet } = this.options;
    const { orderId } = job;
    const answer = await operator.order(vm, { kind: 'remove' }, REMOVE_MS, signal, tell, { orderId });
    if (answer.kind === 'unknown') {
      void this.goOn(job);
      throw orderError(answer);
    }
    // There is none any more: an answer was lost.
    const isGone = answer.kind === 'done' || (answer.kind === 'failed' && answer.code === 'not_found');
    if (!isGone) {
      await journal.submit((tx) => tx.jobs.remove(job.id));
      throw orderError(answer);
    }
    await fleet.noteGone(vm.hostId, vm.key);
    return this.release(job, vm, caller);
  }

  private async release(job: VmJob, vm: Vm, caller: Caller): Promise<VmResult> {
    const { operator, journal, fleet, holdings } = this.options;
    const released = await journal.submit((tx) => {
      tx.jobs.remove(job.id);
      // A later VM of that path has the same row.
      if (fleet.vms.byId(vm.id)) tx.labels.set(vm.id, {});
      const freed = holdings.releaseIn(tx, vm, caller, { force: false });
      operator.record(tx, caller, vm, {
        kind: 'vm.deleted',
        message: `VM ${fleet.label(vm)} was deleted, with its disks`,
        details: { addresses: freed.leases.map(({ address }) => formatIpv4(address)).join(' ') },
      });
      return freed;
    });
    const addresses = released.leases.map(({ address }) => formatIpv4(address));
    return operator.done(vm, ['deleted', ...addresses.map((address) => `released ${address}`)].join(', '));
  }

  /** When the host is back; nobody waits for it. */
  private async goOn(job: VmJob): Promise<void> {
    const { fleet, turns, journal, log } = this.options;
    const { vmId, actor } = JSON.parse(job.data) as KeptData;
    const isForgotten = (): boolean => journal.read(({ jobs }) => jobs.find(job.id) === undefined);
    await awaitHost(fleet, job.hostId, () => this.isStopped || isForgotten());
    if (this.isStopped || isForgotten()) return;
    const caller = { actor, requestId: job.requestId, fingerprint: job.fingerprint };
    try {
      await turns.run(vmId, async () => {
        const vm = fleet.vms.byId(vmId);
        if (vm) return this.remove(job, vm, caller, () => undefined, NEVER);
        // Nothing names it any more, so there is nothing to be released.
        return journal.submit((tx) => tx.jobs.remove(job.id));
      });
    } catch (error) {
      log.warn({ err: error, vm: job.name }, 'a deletion could not be gone on with');
    }
  }
}

const NEVER = new AbortController().signal;
