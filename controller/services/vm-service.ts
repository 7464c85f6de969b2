import { AppError, notFound, wrongState } from '../../shared/errors.js';
import type { Caller } from '../domain/caller.js';
import type { Vm } from '../domain/vm.js';
import type { VmSelector } from '../domain/vm-selector.js';
import type { OrderAction } from '../ports/agent-link.js';
import type { Fleet } from './fleet.js';
import { expectDone, type VmOperator } from './vm-operator.js';
import { runEach, type Tell, type VmProgress, type VmResult } from './vm-progress.js';
import type { VmQuery } from './vm-query.js';
import type { VmWatch } from './vm-watch.js';

/** Which VMs are told. */
export interface VerbRequest {
  readonly selector: VmSelector;
  readonly isDryRun: boolean;
}

/** What is told to VMs that exist. `timeoutSeconds`: 1 to 3,600. */
export type ToldAction = Extract<OrderAction, { kind: 'shutdown' | 'destroy' | 'reboot' | 'pause' | 'unpause' }>;

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

interface Verb {
  readonly verb: string;
  /** As in "was shut down". */
  readonly doneVerb: string;
  readonly eventKind: string;
  /** There is nothing to do; `undefined`: there always is. */
  readonly doneState: Vm['state'] | undefined;
  /** A VM that is stopped cannot be told. */
  readonly needsDomain: boolean;
}

// prettier-ignore
const VERBS: Readonly<Record<ToldAction['kind'], Verb>> = {
  shutdown: { verb: 'shut down', doneVerb: 'shut down', eventKind: 'vm.shut-down', doneState: 'stopped', needsDomain: false },
  destroy:  { verb: 'destroy',   doneVerb: 'destroyed', eventKind: 'vm.destroyed', doneState: 'stopped', needsDomain: false },
  reboot:   { verb: 'reboot',    doneVerb: 'rebooted',  eventKind: 'vm.rebooted',  doneState: undefined, needsDomain: true },
  pause:    { verb: 'pause',     doneVerb: 'paused',    eventKind: 'vm.paused',    doneState: 'paused',  needsDomain: true },
  unpause:  { verb: 'unpause',   doneVerb: 'unpaused',  eventKind: 'vm.unpaused',  doneState: 'running', needsDomain: true },
};

/** For the agent to see that the guest is gone, after its own patience. */
const SHUTDOWN_MARGIN_MS = 30_000;
const MAX_ORDER_MS = 3_600_000;
/** xl destroy takes a second; tearing down devices of a busy dom0 took tens. */
const DESTROY_MS = 120_000;
/** A hypercall. */
const PAUSE_MS = 60_000;
const PARALLEL = 64;

/** The agent's limit. */
function orderMs(action: ToldAction): number {
  switch (action.kind) {
    case 'shutdown': {
      const marginMs = SHUTDOWN_MARGIN_MS + (action.isDestroyedAfter ? DESTROY_MS : 0);
      return Math.min(action.timeoutSeconds * 1000 + marginMs, MAX_ORDER_MS);
    }
    case 'reboot':
      return Math.min(action.timeoutSeconds * 1000 + SHUTDOWN_MARGIN_MS, MAX_ORDER_MS);
    case 'destroy':
      return DESTROY_MS;
    case 'pause':
    case 'unpause':
      return PAUSE_MS;
  }
}

/** What is done with VMs that exist, and waiting for them. Each VM's failure is its own result. */
export class VmService {
  private readonly options: VmServiceOptions;

  constructor(options: VmServiceOptions) {
    this.options = options;
  }

  async *tell(
    action: ToldAction,
    request: VerbRequest,
    caller: Caller,
    signal: AbortSignal,
  ): AsyncGenerator<VmProgress> {
    const { query, operator } = this.options;
    const vms = query.select(request.selector);
    const refusals = vms.map((vm) => this.refusal(vm, VERBS[action.kind]));
    yield this.plan(vms, refusals, VERBS[action.kind]);
    if (request.isDryRun) {
      yield* operator.foresee(vms, refusals);
      return;
    }
    yield* runEach(vms, PARALLEL, signal, (vm, tell, stop) =>
      operator.guard(caller, vm, action.kind, () => this.tellOne(vm, action, caller, tell, stop)),
    );
  }

  /** Tells only results, each as soon as its VM is there, or `timeout`. */
  async *wait(request: WaitRequest, signal: AbortSignal): AsyncGenerator<VmProgress> {
    const vms = this.options.query.select(request.selector);
    yield* runEach(vms, vms.length, signal, (vm, _tell, stop) => this.waitFor(vm, request, stop));
  }

  private plan(vms: readonly Vm[], refusals: readonly (AppError | undefined)[], verb: Verb): VmProgress {
    const { operator } = this.options;
    const due = vms.filter((vm, n) => !refusals[n] && vm.state !== verb.doneState);
    return {
      kind: 'plan',
      steps: due.map((vm) => operator.plan(vm, verb.verb, vm.state)),
      warnings: refusals.flatMap((refusal) => (refusal ? [refusal.message] : [])),
    };
  }

  private refusal(vm: Vm, verb: Verb): AppError | undefined {
    const { operator, fleet } = this.options;
    const refusal = operator.refusal(vm);
    if (refusal || !verb.needsDomain || vm.state !== 'stopped') return refusal;
    return wrongState(`VM ${fleet.label(vm)} is stopped`, { hint: `domherd vm start ${fleet.label(vm)}` });
  }

  private async tellOne(
    selected: Vm,
    action: ToldAction,
    caller: Caller,
    tell: Tell,
    signal: AbortSignal,
  ): Promise<VmResult> {
    const { operator } = this.options;
    const verb = VERBS[action.kind];
    const vm = operator.present(selected);
    const refusal = this.refusal(vm, verb);
    if (refusal) throw refusal;
    if (vm.state === verb.doneState) return operator.done(vm, `already ${vm.state}`);
    const answer = await operator.orderOnce(caller, vm, action, orderMs(action), signal, tell);
    const { isAgain } = expectDone(answer);
    await operator.recordDone(caller, vm, verb.eventKind, verb.doneVerb, isAgain);
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
