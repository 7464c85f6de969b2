import { formatIpv4 } from '../../shared/domain/ipv4.js';
import { formatMac } from '../../shared/domain/mac.js';
import { wrongState, type AppError } from '../../shared/errors.js';
import type { PlannedStep } from '../domain/address-plan.js';
import type { Caller } from '../domain/caller.js';
import type { Vm } from '../domain/vm.js';
import type { Tx } from '../ports/store.js';
import type { Fleet } from './fleet.js';
import type { Journal } from './journal.js';
import type { KeyedQueue } from './keyed-queue.js';
import { releaseSteps, type Holdings, type VmHoldings } from './vm-holdings.js';
import { orderError, type VmOperator } from './vm-operator.js';
import { runEach, type Tell, type VmProgress, type VmResult } from './vm-progress.js';
import type { VmQuery } from './vm-query.js';
import type { VerbRequest } from './vm-service.js';

export interface VmRestorerOptions {
  readonly fleet: Fleet;
  readonly query: VmQuery;
  readonly operator: VmOperator;
  readonly holdings: VmHoldings;
  readonly journal: Journal;
  readonly turns: KeyedQueue<Vm['id']>;
}

/** As for writing: checking a guest's file system takes minutes on a large disk. */
const RESTORE_MS = 300_000;
const PARALLEL = 32;

/**
 * Gives VMs the files back that they had before domherd wrote them.
 *
 * Invariant: what a VM has is released only once its host has said that it stands in no file any more.
 */
export class VmRestorer {
  private readonly options: VmRestorerOptions;

  constructor(options: VmRestorerOptions) {
    this.options = options;
  }

  async *restoreFiles(
    { selector, isDryRun }: VerbRequest,
    caller: Caller,
    signal: AbortSignal,
  ): AsyncGenerator<VmProgress> {
    const { query, operator, turns } = this.options;
    const vms = query.select(selector);
    const refusals = vms.map((vm) => this.refusal(vm));
    yield this.plan(vms, refusals);
    if (isDryRun) {
      yield* operator.foresee(vms, refusals);
      return;
    }
    yield* runEach(vms, PARALLEL, signal, (vm, tell, stop) =>
      operator.guard(caller, vm, 'restore-files', () =>
        turns.run(vm.id, () => this.restoreOne(operator.present(vm), caller, tell, stop)),
      ),
    );
  }

  private plan(vms: readonly Vm[], refusals: readonly (AppError | undefined)[]): VmProgress {
    const { journal, holdings } = this.options;
    const due = vms.filter((_, n) => !refusals[n]);
    const steps = journal.read((stores) => due.flatMap((vm) => this.stepsFor(vm, holdings.find(stores, vm))));
    return { kind: 'plan', steps, warnings: refusals.flatMap((refusal) => (refusal ? [refusal.message] : [])) };
  }

  private stepsFor(vm: Vm, holdings: Holdings): readonly PlannedStep[] {
    const { operator } = this.options;
    const asBefore = 'as it was before domherd wrote it';
    return [
      operator.plan(vm, 'restore guest', asBefore),
      operator.plan(vm, 'restore cfg', asBefore),
      ...releaseSteps(holdings).map(([action, detail]) => operator.plan(vm, action, detail)),
    ];
  }

  private refusal(vm: Vm): AppError | undefined {
    const { operator, fleet } = this.options;
    const name = fleet.label(vm);
    const refusal = operator.refusal(vm);
    if (refusal) return refusal;
    if (vm.problem !== undefined) return wrongState(`VM ${name} cannot be managed: ${vm.problem}`, { vm: vm.name });
    if (vm.state === 'stopped') return undefined;
    return wrongState(`VM ${name} is ${vm.state}: its files are given back while it is stopped`, {
      state: vm.state,
      hint: `domherd vm shutdown ${name}`,
    });
  }

  private async restoreOne(vm: Vm, caller: Caller, tell: Tell, signal: AbortSignal): Promise<VmResult> {
    const { operator, journal } = this.options;
    const refusal = this.refusal(vm);
    if (refusal) throw refusal;
    tell(operator.step(vm, 'giving its former files back'));
    const answer = await operator.order(vm, { kind: 'restoreFiles' }, RESTORE_MS, signal, tell);
    if (answer.kind !== 'done') throw orderError(answer);
    const released = await journal.submit((tx) => this.release(tx, vm, caller));
    const done = operator.done(vm, ['has its former files', ...namesOf(released)].join(', released '));
    return { ...done, warnings: answer.warnings ?? [] };
  }

  private release(tx: Tx, vm: Vm, caller: Caller): Holdings {
    const { operator, holdings, fleet } = this.options;
    const released = holdings.releaseIn(tx, vm, caller, { force: false });
    const names = namesOf(released);
    operator.record(tx, caller, vm, {
      kind: 'vm.files-restored',
      message: `VM ${fleet.label(vm)} has its former files back${names.length > 0 ? `; released ${names.join(', ')}` : ''}`,
      details: {
        addresses: released.leases.map(({ address }) => formatIpv4(address)).join(' '),
        macs: [...released.leases, ...released.claims].map(({ mac }) => formatMac(mac)).join(' '),
      },
    });
    return released;
  }
}

/** An address, or a MAC without one. */
function namesOf({ leases, claims }: Holdings): readonly string[] {
  return [...leases.map(({ address }) => formatIpv4(address)), ...claims.map(({ mac }) => formatMac(mac))];
}
