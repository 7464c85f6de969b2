import { formatMac } from '../../shared/domain/mac.js';
import { formatIpv4 } from '../../shared/domain/ipv4.js';
import type { ObservedVif, ObservedVm, Vm } from './vm.js';

/** What a report of a host changes. */
export interface ObservationDiff {
  /** New, or seen otherwise than before. */
  readonly changed: readonly ObservedVm[];
  readonly gone: readonly Vm[];
}

/** Compares everything that a host has with what was known of it. */
export function diffFullState(known: readonly Vm[], reported: readonly ObservedVm[]): ObservationDiff {
  const byKey = new Map(known.map((vm) => [vm.key, vm]));
  const reportedKeys = new Set(reported.map((vm) => vm.key));
  return {
    changed: reported.filter((vm) => isNews(byKey.get(vm.key), vm)),
    gone: known.filter((vm) => !vm.isGone && !reportedKeys.has(vm.key)),
  };
}

/** Compares a host's changes with what was known. Keys in `goneKeys` that nobody knows are nothing new. */
export function diffChange(
  find: (key: string) => Vm | undefined,
  changed: readonly ObservedVm[],
  goneKeys: readonly string[],
): ObservationDiff {
  return {
    changed: changed.filter((vm) => isNews(find(vm.key), vm)),
    gone: goneKeys.map(find).filter((vm) => vm !== undefined && !vm.isGone) as readonly Vm[],
  };
}

export function isEmptyDiff(diff: ObservationDiff): boolean {
  return diff.changed.length === 0 && diff.gone.length === 0;
}

function isNews(before: Vm | undefined, now: ObservedVm): boolean {
  return before === undefined || before.isGone || !isSameObservation(before, now);
}

export function isSameObservation(a: ObservedVm, b: ObservedVm): boolean {
  return (
    a.key === b.key &&
    a.name === b.name &&
    a.cfgPath === b.cfgPath &&
    a.uuid === b.uuid &&
    a.state === b.state &&
    a.memoryMib === b.memoryMib &&
    a.vcpus === b.vcpus &&
    a.problem === b.problem &&
    a.isAutostarted === b.isAutostarted &&
    (a.hostKeys ?? []).join('\n') === (b.hostKeys ?? []).join('\n') &&
    a.vifs.length === b.vifs.length &&
    a.vifs.every((vif, n) => isSameVif(vif, b.vifs[n]))
  );
}

function isSameVif(a: ObservedVif, b: ObservedVif | undefined): boolean {
  return (
    b !== undefined &&
    a.index === b.index &&
    a.mac === b.mac &&
    a.bridge === b.bridge &&
    a.guestAddress === b.guestAddress
  );
}

/** A line of a VM's history before it is tied to a host and a time. */
export interface VmNews {
  readonly kind: 'vm.appeared' | 'vm.gone' | 'vm.state-changed' | 'vm.changed';
  /** What comes after the VM's name in the sentence. */
  readonly predicate: string;
  readonly details: Readonly<Record<string, string>>;
}

/** What history should tell of an observation; empty when only size or problem changed. */
export function newsOf(before: Vm | undefined, now: ObservedVm): readonly VmNews[] {
  if (before === undefined || before.isGone) {
    return [{ kind: 'vm.appeared', predicate: `appeared, ${now.state}`, details: { state: now.state } }];
  }
  const news: VmNews[] = [];
  if (before.state !== now.state) {
    const details = { from: before.state, to: now.state };
    news.push({ kind: 'vm.state-changed', predicate: `went from ${before.state} to ${now.state}`, details });
  }
  const identity = { from: showIdentity(before), to: showIdentity(now) };
  if (identity.from !== identity.to) {
    news.push({ kind: 'vm.changed', predicate: `changed from ${identity.from} to ${identity.to}`, details: identity });
  }
  return news;
}

export const GONE_NEWS: VmNews = { kind: 'vm.gone', predicate: 'is gone from its host', details: {} };

/** What the wire knows a VM by. */
function showIdentity(vm: ObservedVm): string {
  const vifs = vm.vifs.map((vif) => {
    const mac = vif.mac === undefined ? 'no MAC' : formatMac(vif.mac);
    return vif.guestAddress === undefined ? mac : `${mac} ${formatIpv4(vif.guestAddress)}`;
  });
  return [vm.name, ...vifs].join(', ');
}
