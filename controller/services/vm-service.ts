import { AppError, notFound } from '../../shared/errors.js';
import type { Caller } from '../domain/caller.js';
import type { Vm } from '../domain/vm.js';
import type { VmSelector } from '../domain/vm-selector.js';
import type { OrderAction } from '../ports/agent-link.js';
import type { Fleet } from './fleet.js';
import { expectDone, type VmOperator } from './vm-operator.js';
import { runEach, type Tell, type VmProgress, type VmResult } from './vm-progress.js';
import type { VmQuery } from './vm-query.js';
import type { VmWatch } from './vm-watch.js';

export interface ShutdownRequest {
  readonly selector: VmSelector;
  /** 1 to 3,600. */
  readonly timeoutSeconds: number;
  readonly isDryRun: boolean;
}

export interface DestroyRequest {
  readonly selector: VmSelector;
  readonly isDryRun: boolean;
}

export interface WaitRequest {
  readonly selector: VmSelector;
  readonly condition: 'running' | 'stopped';
  /** 1,000 to 86,400,000. */
  readonly timeoutMs: number;
}

export interface VmServiceOptions {
  readonly fleet: Fleet;
  readonly query: VmQuery;
  readonly operator: VmOperator;
  readonly watch: VmWatch;
}

interface StopVerb {
  /** "shut down", as in the plan and in "was shut down". */
  readonly verb: string;
  readonly doneVerb: string;
  readonly kind: string;
  readonly action: OrderAction;
  readonly timeoutMs: number;
}

/** For the agent to see that the guest is gone, after its own patience. */
const SHUTDOWN_MARGIN_MS = 30_000;
const MAX_ORDER_MS = 3_600_000;
/** xl destroy takes a second; tearing down devices of a busy dom0 took tens. */
const DESTROY_MS = 120_000;
const PARALLEL = 64;

/** Stopping VMs, and waiting for them. Each VM's failure is its own result. */
export class VmService {
  private readonly options: VmServiceOptions;

  constructor(options: VmServiceOptions) {
    this.options = options;
  }

  shutdown(request: ShutdownRequest, caller: Caller, signal: AbortSignal): AsyncGenerator<VmProgress> {
    const { timeoutSeconds } = request;
    const verb: StopVerb = {
      verb: 'shut down',
      doneVerb: 'shut down',
      kind: 'vm.shut-down',
      action: { kind: 'shutdown', timeoutSeconds },
      timeoutMs: Math.min(timeoutSeconds * 1000 + SHUTDOWN_MARGIN_MS, MAX_ORDER_MS),
    };
    return this.stop(request, verb, caller, signal);
  }

  destroy(request: DestroyRequest, caller: Caller, signal: AbortSignal): AsyncGenerator<VmProgress> {
    const verb: StopVerb = {
      verb: 'destroy',
      doneVerb: 'destroyed',
      kind: 'vm.destroyed',
      action: { kind: 'destroy' },
      timeoutMs: DESTROY_MS,
    };
    return this.stop(request, verb, caller, signal);
  }

  /** Tells only results, each as soon as its VM is there, or `timeout`. */
  async *wait(request: WaitRequest, signal: AbortSignal): AsyncGenerator<VmProgress> {
    const vms = this.options.query.select(request.selector);
    yield* runEach(vms, vms.length, signal, (vm, _tell, stop) => this.waitFor(vm, request, stop));
  }

  private async *stop(
    request: DestroyRequest,
    verb: StopVerb,
    caller: Caller,
    signal: AbortSignal,
  ): AsyncGenerator<VmProgress> {
    const { query, operator } = this.options;
    const vms = query.select(request.selector);
    yield this.plan(vms, verb);
    if (request.isDryRun) return;
    yield* runEach(vms, PARALLEL, signal, (vm, tell, stop) =>
      operator.guard(vm, () => this.stopOne(vm, verb, caller, tell, stop)),
    );
  }

  private plan(vms: readonly Vm[], verb: StopVerb): VmProgress {
    const { operator } = this.options;
    const refusals = vms.map((vm) => operator.refusal(vm));
    const due = vms.filter((vm, n) => !refusals[n] && vm.state !== 'stopped');
    return {
      kind: 'plan',
      steps: due.map((vm) => operator.plan(vm, verb.verb, vm.state)),
      warnings: refusals.flatMap((refusal) => (refusal ? [refusal.message] : [])),
    };
  }

  private async stopOne(
    selected: Vm,
    verb: StopVerb,
    caller: Caller,
    tell: Tell,
    signal: AbortSignal,
  ): Promise<VmResult> {
    const { operator } = this.options;
    const vm = operator.present(selected);
    const refusal = operator.refusal(vm);
    if (refusal) throw refusal;
    if (vm.state === 'stopped') return operator.done(vm, 'already stopped');
    expectDone(await operator.order(vm, verb.action, verb.timeoutMs, signal, tell));
    await operator.recordDone(caller, vm, verb.kind, verb.doneVerb);
    return operator.done(vm, verb.doneVerb);
  }

  private async waitFor(vm: Vm, { condition, timeoutMs }: WaitRequest, signal: AbortSignal): Promise<VmResult> {
    const { watch, operator, fleet } = this.options;
    const outcome = await watch.until(vm, ({ state }) => state === condition, timeoutMs, signal);
    const label = `VM ${fleet.label(vm)}`;
    const seconds = Math.round(timeoutMs / 1000);
    switch (outcome) {
      case 'met':
        return operator.done(vm, condition);
      case 'gone':
        return operator.failure(vm, notFound(`${label} is gone from its host`));
      case 'timeout':
        return operator.failure(
          vm,
          new AppError('timeout', `${label} was not ${condition} within ${seconds} s`, {
            hint: this.lateHint(vm, condition),
          }),
        );
      case 'cancelled':
        return operator.failure(vm, new AppError('unavailable', 'the wait was cancelled'));
    }
  }

  private lateHint(vm: Vm, condition: WaitRequest['condition']): string {
    const { fleet, operator } = this.options;
    const name = fleet.label(vm);
    if (!fleet.isReachable(vm.hostId)) return `its host is not online: domherd host show ${fleet.hostName(vm.hostId)}`;
    const { state } = operator.present(vm);
    if (condition === 'running' && state === 'stopped') return `it is stopped: domherd vm start ${name}`;
    if (condition === 'stopped' && state === 'running') return `it is running: domherd vm shutdown ${name}`;
    return `it is ${state}: domherd vm show ${name}`;
  }
}
