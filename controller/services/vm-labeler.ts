import { changeLabels, checkLabels, formatLabels, type LabelChanges } from '../../shared/domain/label.js';
import type { Caller } from '../domain/caller.js';
import type { VmSelector } from '../domain/vm-selector.js';
import type { Vm } from '../domain/vm.js';
import type { Tx } from '../ports/store.js';
import type { Fleet } from './fleet.js';
import type { Journal } from './journal.js';
import type { VmOperator } from './vm-operator.js';
import type { VmQuery, VmView } from './vm-query.js';

export interface VmLabelerOptions {
  readonly fleet: Fleet;
  readonly query: VmQuery;
  readonly operator: VmOperator;
  readonly journal: Journal;
}

/** Gives VMs labels, and takes them away. They are the controller's alone: no host is told. */
export class VmLabeler {
  private readonly options: VmLabelerOptions;

  constructor(options: VmLabelerOptions) {
    this.options = options;
  }

  /** All of them, or none. @throws {AppError} as selectVms of the domain; `invalid` for too many labels */
  async change(selector: VmSelector, changes: LabelChanges, caller: Caller): Promise<readonly VmView[]> {
    const { query, journal } = this.options;
    const vms = query.select(selector);
    await journal.submit((tx) => vms.forEach((vm) => this.changeIn(tx, vm, changes, caller)));
    return vms.map((vm) => query.view(vm));
  }

  private changeIn(tx: Tx, vm: Vm, changes: LabelChanges, caller: Caller): void {
    const { fleet, operator } = this.options;
    const before = tx.labels.find(vm.id);
    const labels = checkLabels(changeLabels(before, changes));
    const [from, to] = [formatLabels(before), formatLabels(labels)];
    if (from === to) return;
    tx.labels.set(vm.id, labels);
    operator.record(tx, caller, vm, {
      kind: 'vm.labelled',
      message: `labels of VM ${fleet.label(vm)}: ${from || 'none'} -> ${to || 'none'}`,
      details: { labels: to },
    });
  }
}
