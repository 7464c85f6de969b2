import type { VmSetting } from '../../shared/domain/vm-setting.js';
import { wrongState, type AppError } from '../../shared/errors.js';
import type { PlannedStep } from '../domain/address-plan.js';
import type { Caller } from '../domain/caller.js';
import type { Vm } from '../domain/vm.js';
import type { Clock } from '../ports/environment.js';
import type { Stores } from '../ports/store.js';
import type { Fleet } from './fleet.js';
import type { Journal } from './journal.js';
import type { KeyedQueue } from './keyed-queue.js';
import { expectDone, type VmOperator } from './vm-operator.js';
import { runEach, type Tell, type VmProgress, type VmResult } from './vm-progress.js';
import type { VmQuery } from './vm-query.js';
import type { VerbRequest } from './vm-service.js';
import type { RestartHow, VmStarter } from './vm-starter.js';

export interface VmChangerOptions {
  readonly fleet: Fleet;
  readonly query: VmQuery;
  readonly operator: VmOperator;
  readonly journal: Journal;
  readonly starter: VmStarter;
  readonly clock: Clock;
  readonly turns: KeyedQueue<Vm['id']>;
}

export interface SetRequest extends VerbRequest {
  readonly memoryMib: number | undefined;
  readonly vcpus: number | undefined;
  readonly settings: readonly VmSetting[];
}

export interface RestartRequest extends VerbRequest, RestartHow {}

/** A file, and two hypercalls of 30 s at most. */
const SET_MS = 120_000;
const PARALLEL = 64;

interface Change {
  /** Of the command. */
  readonly verb: string;
  readonly steps: (vm: Vm) => readonly PlannedStep[];
  readonly refusal: (vm: Vm, stores: Stores) => AppError | undefined;
  readonly work: (vm: Vm, caller: Caller, tell: Tell, signal: AbortSignal) => Promise<VmResult>;
}

/** Changes what VMs are like, and has them begin anew. Each VM's failure is its own result. */
export class VmChanger {
  private readonly options: VmChangerOptions;

  constructor(options: VmChangerOptions) {
    this.options = options;
  }

  set(request: SetRequest, caller: Caller, signal: AbortSignal): AsyncGenerator<VmProgress> {
    const { memoryMib, vcpus, settings } = request;
    const { operator } = this.options;
    const all = [
      ...(memoryMib === undefined ? [] : [{ key: 'memory', value: String(memoryMib) }]),
      ...(vcpus === undefined ? [] : [{ key: 'vcpus', value: String(vcpus) }]),
      ...settings,
    ];
    const text = all.map(({ key, value }) => (value === '' ? `without ${key}` : `${key} = ${value}`)).join(', ');
    const change: Change = {
      verb: 'set',
      steps: (vm) => [operator.plan(vm, 'write cfg', text)],
      refusal: () => undefined,
      work: async (vm, by, tell, stop) => {
        const action = { kind: 'set', memoryMib, vcpus, settings } as const;
        const { warnings = [], isAgain } = expectDone(await operator.orderOnce(by, vm, action, SET_MS, stop, tell));
        await operator.recordDone(by, vm, 'vm.set', `set to ${text}`, isAgain);
        return { ...operator.done(vm, text), warnings };
      },
    };
    return this.each(change, request, caller, signal);
  }

  setAutostart(request: VerbRequest, isOn: boolean, caller: Caller, signal: AbortSignal): AsyncGenerator<VmProgress> {
    const { operator } = this.options;
    const verb = isOn ? 'started when its host boots' : 'not started when its host boots';
    const change: Change = {
      verb: `autostart ${isOn ? 'on' : 'off'}`,
      steps: (vm) => [operator.plan(vm, isOn ? 'start at boot' : 'no start at boot', vm.cfgPath ?? '')],
      refusal: (vm, stores) => (isOn ? this.refuseUnleased(vm, stores) : undefined),
      work: async (vm, by, tell, stop) => {
        const action = { kind: 'setAutostart', isOn } as const;
        const { isAgain } = expectDone(await operator.orderOnce(by, vm, action, SET_MS, stop, tell));
        await operator.recordDone(by, vm, 'vm.autostart-set', `set to be ${verb}`, isAgain);
        return operator.done(vm, verb);
      },
    };
    return this.each(change, request, caller, signal);
  }

  restart(request: RestartRequest, caller: Caller, signal: AbortSignal): AsyncGenerator<VmProgress> {
    const { operator, starter } = this.options;
    const change: Change = {
      verb: 'restart',
      steps: (vm) => [
        ...(vm.state === 'stopped' ? [] : [operator.plan(vm, 'shut down', vm.state)]),
        operator.plan(vm, 'start', ''),
      ],
      // Asked first: a VM that may not start again is not shut down.
      refusal: (vm) => starter.objection(vm),
      work: (vm, by, tell, stop) => starter.restartNow(vm, request, by, tell, stop),
    };
    return this.each(change, request, caller, signal);
  }

  private async *each(
    change: Change,
    { selector, isDryRun }: VerbRequest,
    caller: Caller,
    signal: AbortSignal,
  ): AsyncGenerator<VmProgress> {
    const { query, operator, turns, journal } = this.options;
    const vms = query.select(selector);
    const refuse = (vm: Vm): AppError | undefined =>
      operator.refusal(vm) ?? journal.read((stores) => change.refusal(vm, stores));
    const refusals = vms.map(refuse);
    yield {
      kind: 'plan',
      steps: vms.flatMap((vm, n) => (refusals[n] ? [] : change.steps(vm))),
      warnings: refusals.flatMap((refusal) => (refusal ? [refusal.message] : [])),
    };
    if (isDryRun) {
      yield* operator.foresee(vms, refusals);
      return;
    }
    yield* runEach(vms, PARALLEL, signal, (selected, tell, stop) =>
      operator.guard(caller, selected, change.verb, () =>
        turns.run(selected.id, () => {
          const vm = operator.present(selected);
          const refusal = refuse(vm);
          if (refusal) throw refusal;
          return change.work(vm, caller, tell, stop);
        }),
      ),
    );
  }

  private refuseUnleased(vm: Vm, stores: Stores): AppError | undefined {
    const { fleet, clock } = this.options;
    const ends = new Map(stores.reservations.list().map(({ id, endsAtMs }) => [id, endsAtMs]));
    const live = stores.leases.listByVm(vm.id).filter(({ state, reservationId }) => {
      return (state === 'bound' || state === 'pending') && (ends.get(reservationId) ?? 0) > clock.nowMs();
    });
    const bare = vm.vifs.find(({ index }) => {
      return !live.some(({ owner }) => owner.kind === 'vif' && owner.vifIndex === index);
    });
    if (bare === undefined) return undefined;
    const label = fleet.label(vm);
    return wrongState(`VM ${label}: vif ${String(bare.index)} has no live lease: its host would not start it`, {
      hint: `domherd vm address ${label}`,
    });
  }
}
