import { formatIpv4 } from '../../shared/domain/ipv4.js';
import { wrongState, type AppError } from '../../shared/errors.js';
import type { PlannedStep } from '../domain/address-plan.js';
import type { Caller } from '../domain/caller.js';
import type { Vm } from '../domain/vm.js';
import type { Fleet } from './fleet.js';
import type { Journal } from './journal.js';
import type { KeyedQueue } from './keyed-queue.js';
import { releaseSteps, type Holdings, type VmHoldings } from './vm-holdings.js';
import { expectDone, type VmOperator } from './vm-operator.js';
import { runEach, type Tell, type VmProgress, type VmResult } from './vm-progress.js';
import type { VmQuery } from './vm-query.js';
import type { VerbRequest } from './vm-service.js';

export interface VmDeleterOptions {
  readonly fleet: Fleet;
  readonly query: VmQuery;
  readonly operator: VmOperator;
  readonly holdings: VmHoldings;
  readonly journal: Journal;
  readonly turns: KeyedQueue<Vm['id']>;
}

const REMOVE_MS = 300_000;
const PARALLEL = 32;

/**
 * Takes VMs away that domherd made: cfg, disks, leases.
 *
 * Invariant: what a VM has is released only once its host has said that the VM is gone.
 */
export class VmDeleter {
  private readonly options: VmDeleterOptions;

  constructor(options: VmDeleterOptions) {
    this.options = options;
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
      operator.guard(vm, () => turns.run(vm.id, () => this.deleteOne(operator.present(vm), caller, tell, stop))),
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
    const { operator, journal, fleet, holdings } = this.options;
    const refusal = this.refusal(vm);
    if (refusal) throw refusal;
    expectDone(await operator.order(vm, { kind: 'remove' }, REMOVE_MS, signal, tell));
    const released = await journal.submit((tx) => {
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
}
