import { invalid, notFound } from '../../shared/errors.js';
import { closestNames } from './closest-name.js';
import type { VmId } from './lease.js';

/** Which VMs: exactly one of both is used. */
export interface VmSelector {
  /** Each a NAME, a NAME@HOST or an id. */
  readonly names: readonly string[];
  readonly all: boolean;
}

/** What a selector needs to know of a VM. */
export interface SelectableVm {
  readonly id: VmId;
  readonly name: string;
  readonly host: string;
  /** Found by name only when no other VM has the name. */
  readonly isGone: boolean;
}

/** All VMs, found fast by id and by name. */
export interface VmDirectory<V extends SelectableVm> {
  byId(id: VmId): V | undefined;
  byName(name: string): readonly V[];
  /** Without those that are gone. */
  all(): readonly V[];
}

/**
 * The VMs that a selector means, each once, in the order in which they were named.
 *
 * @throws {AppError} `invalid` unless exactly one of names and all is used, or when several VMs have the name (details
 *   `candidates`); `not_found` when none has
 */
export function selectVms<V extends SelectableVm>(selector: VmSelector, directory: VmDirectory<V>): readonly V[] {
  if (selector.all === selector.names.length > 0) {
    throw invalid('VM selector is empty or contradicts itself', {
      hint: 'give names of VMs, or all of them, not both',
    });
  }
  if (selector.all) return directory.all();
  const chosen = new Map<VmId, V>();
  for (const text of selector.names) {
    const vm = selectVm(text, directory);
    chosen.set(vm.id, vm);
  }
  return [...chosen.values()];
}

/**
 * @param text NAME, NAME@HOST or an id; HOST may be the first label of the host's name
 * @throws {AppError} as {@link selectVms}
 */
export function selectVm<V extends SelectableVm>(text: string, directory: VmDirectory<V>): V {
  const matches = preferPresent(matchesOf(text, directory));
  const [first] = matches;
  if (first === undefined) throw unknownVm(text, directory);
  if (matches.length > 1) throw ambiguousVm(text, matches);
  return first;
}

function matchesOf<V extends SelectableVm>(text: string, directory: VmDirectory<V>): readonly V[] {
  // xl takes a name of digits for a domid, so no VM that it can manage has one (name.ts).
  const byId = /^\d{1,10}$/.test(text) ? directory.byId(Number(text)) : undefined;
  if (byId) return [byId];
  const byName = directory.byName(text);
  const at = text.lastIndexOf('@');
  if (byName.length > 0 || at < 0) return byName;
  return onHost(directory.byName(text.slice(0, at)), text.slice(at + 1).toLowerCase());
}

function onHost<V extends SelectableVm>(vms: readonly V[], host: string): readonly V[] {
  const exact = vms.filter((vm) => vm.host === host);
  return exact.length > 0 ? exact : vms.filter((vm) => vm.host.split('.')[0] === host);
}

function preferPresent<V extends SelectableVm>(vms: readonly V[]): readonly V[] {
  const present = vms.filter((vm) => !vm.isGone);
  return present.length > 0 ? present : vms;
}

function ambiguousVm(text: string, matches: readonly SelectableVm[]): Error {
  const labels = matches.map(labelOf);
  // Two cfg files of one host may have one name: then only the id tells them apart.
  const isUnique = new Set(labels).size === labels.length;
  const candidates = matches.map((vm) => (isUnique ? labelOf(vm) : `${labelOf(vm)} (id ${vm.id})`)).sort();
  const shown = candidates.length > 5 ? [...candidates.slice(0, 5), '...'] : candidates;
  return invalid(`VM name "${text}" belongs to ${matches.length} VMs: ${shown.join(', ')}`, {
    vm: text,
    candidates: candidates.slice(0, 50).join(' '),
    hint: isUnique ? 'give NAME@HOST' : 'give the id',
  });
}

function unknownVm(text: string, directory: VmDirectory<SelectableVm>): Error {
  const vms = directory.all();
  const names = text.includes('@') ? vms.map(labelOf) : vms.map((vm) => vm.name);
  const close = closestNames(text, names);
  const hint = close.length > 0 ? `did you mean ${close.join(' or ')}?` : 'see domherd vm list';
  return notFound(`VM "${text}" is unknown`, { vm: text, hint });
}

function labelOf(vm: SelectableVm): string {
  return `${vm.name}@${vm.host}`;
}
