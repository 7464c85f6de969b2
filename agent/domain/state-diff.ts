import type { HostBridges } from '../../shared/domain/bridge.js';
import type { HostStore } from '../../shared/domain/host-store.js';
import type { StateChange } from './session-message.js';
import type { ObservedVif, ObservedVm } from './vm.js';

/** What to tell somebody who knows `before`; `undefined` if nothing changed. The order of VMs does not count. */
export function diffState(before: readonly ObservedVm[], after: readonly ObservedVm[]): StateChange | undefined {
  const known = new Map(before.map((vm) => [vm.key, vm]));
  const changed = after.filter((vm) => !isSameVm(known.get(vm.key), vm));
  const present = new Set(after.map((vm) => vm.key));
  const gone = [...known.keys()].filter((key) => !present.has(key));
  return changed.length + gone.length === 0 ? undefined : { changed, gone };
}

/** The change with the bridges in it, if they are others than before; `undefined` if nothing changed at all. */
export function withBridges(
  change: StateChange | undefined,
  before: HostBridges | undefined,
  after: HostBridges | undefined,
): StateChange | undefined {
  if (after === undefined || JSON.stringify(before) === JSON.stringify(after)) return change;
  return { ...(change ?? { changed: [], gone: [] }), bridges: after };
}

/** As {@link withBridges}, with the stores. */
export function withStores(
  change: StateChange | undefined,
  before: readonly HostStore[] | undefined,
  after: readonly HostStore[] | undefined,
): StateChange | undefined {
  if (after === undefined || JSON.stringify(before) === JSON.stringify(after)) return change;
  return { ...(change ?? { changed: [], gone: [] }), stores: after };
}

function isSameVm(a: ObservedVm | undefined, b: ObservedVm): boolean {
  if (a === undefined) return false;
  const { vifs: vifsOfA, hostKeys: keysOfA = [], ...restOfA } = a;
  const { vifs: vifsOfB, hostKeys: keysOfB = [], ...restOfB } = b;
  return isShallowEqual(restOfA, restOfB) && isSameVifs(vifsOfA, vifsOfB) && keysOfA.join('\n') === keysOfB.join('\n');
}

function isSameVifs(a: readonly ObservedVif[], b: readonly ObservedVif[]): boolean {
  return a.length === b.length && a.every((vif, n) => isShallowEqual(vif, b[n]));
}

function isShallowEqual(a: object, b: object | undefined): boolean {
  if (b === undefined) return false;
  const other = new Map(Object.entries(b));
  return Object.entries(a).every(([key, value]) => other.get(key) === value);
}
