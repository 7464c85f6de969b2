import { formatLabels, type Labels } from '../../../shared/domain/label.js';
import type { FleetFile, FleetGroup } from './fleet-file.js';

/** By which VMs that apply made are known again. */
export const FLEET_LABEL = 'domherd/fleet';
export const GROUP_LABEL = 'domherd/group';

/** A VM as the controller tells of it. */
export interface PresentVm {
  /** NAME@HOST. */
  readonly label: string;
  readonly name: string;
  readonly state: string;
  readonly memoryMib: number;
  readonly vcpus: number;
  readonly labels: Labels;
  readonly autostart: boolean;
}

/** What is not given is as the file says already. */
export interface Sizes {
  readonly memory?: number;
  readonly vcpus?: number;
}

export type FleetChange =
  | { readonly kind: 'create'; readonly group: FleetGroup; readonly names: readonly string[] }
  | { readonly kind: 'label'; readonly vm: string; readonly set: Labels; readonly detail: string }
  /** Whether its host starts it when that boots. */
  | { readonly kind: 'autostart'; readonly vm: string; readonly isOn: boolean }
  | { readonly kind: 'start' | 'stop'; readonly vm: string }
  | { readonly kind: 'set'; readonly vm: string; readonly sizes: Sizes; readonly detail: string }
  | { readonly kind: 'remove'; readonly vm: string; readonly isRunning: boolean };

/**
 * What makes of what there is what the file says; nothing, when that is so already.
 *
 * Invariant: only VMs that carry this fleet's label are removed, and none that the file names.
 *
 * @param withPrune also what the file does not name any more
 */
export function diffFleet(file: FleetFile, present: readonly PresentVm[], withPrune: boolean): readonly FleetChange[] {
  const byName = new Map<string, PresentVm[]>();
  for (const vm of present) byName.set(vm.name, [...(byName.get(vm.name) ?? []), vm]);
  const changes = file.groups.flatMap((group) => {
    const missing = group.names.filter((name) => !byName.has(name));
    const create: readonly FleetChange[] = missing.length === 0 ? [] : [{ kind: 'create', group, names: missing }];
    const there = group.names.flatMap((name) => byName.get(name) ?? []);
    return [...create, ...there.flatMap((vm) => changesOf(group, vm))];
  });
  if (!withPrune) return changes;
  const wanted = new Set(file.groups.flatMap(({ names }) => names));
  const left = present.filter(({ name, labels }) => labels[FLEET_LABEL] === file.name && !wanted.has(name));
  return [
    ...changes,
    ...left.map(({ label, state }): FleetChange => ({ kind: 'remove', vm: label, isRunning: state !== 'stopped' })),
  ];
}

/** Labels that its VMs get when they are made. */
export function labelsOf(file: FleetFile, group: FleetGroup): Labels {
  return { ...group.labels, [FLEET_LABEL]: file.name, [GROUP_LABEL]: group.name };
}

function changesOf(group: FleetGroup, vm: PresentVm): readonly FleetChange[] {
  const set = Object.fromEntries(Object.entries(group.labels).filter(([key, value]) => vm.labels[key] !== value));
  const { memory = vm.memoryMib, vcpus = vm.vcpus, autostart = vm.autostart } = group.options;
  const sizes = { ...(memory !== vm.memoryMib && { memory }), ...(vcpus !== vm.vcpus && { vcpus }) };
  const details = [
    ...(memory === vm.memoryMib ? [] : [`memory ${String(vm.memoryMib)} -> ${String(memory)} MiB`]),
    ...(vcpus === vm.vcpus ? [] : [`vcpus ${String(vm.vcpus)} -> ${String(vcpus)}`]),
  ];
  const isStopped = vm.state === 'stopped';
  const changes: (FleetChange | false)[] = [
    Object.keys(set).length > 0 && { kind: 'label', vm: vm.label, set, detail: formatLabels(set) },
    group.isStarted === false && !isStopped && { kind: 'stop', vm: vm.label },
    details.length > 0 && { kind: 'set', vm: vm.label, sizes, detail: details.join(', ') },
    autostart !== vm.autostart && { kind: 'autostart', vm: vm.label, isOn: autostart },
    group.isStarted === true && isStopped && { kind: 'start', vm: vm.label },
  ];
  return changes.filter((change) => change !== false);
}
