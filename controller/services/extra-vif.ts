import { chooseBridge, describeBridges } from '../../shared/domain/bridge.js';
import { invalid, notFound, type AppError } from '../../shared/errors.js';
import { MAX_VIFS, type VmShape } from '../../shared/domain/vm-shape.js';
import type { HostId, ObservedVif } from '../domain/vm.js';
import type { Fleet } from './fleet.js';

/** The NICs that VMs of that shape have besides those that they would have anyway. */
export function extraVifs({ extraVifs: bridges = [] }: VmShape, first: number): readonly ObservedVif[] {
  return bridges.map((bridge, n) => ({ index: first + n, mac: undefined, bridge, guestAddress: undefined }));
}

/** @param label of what is copied, which has `count` of its own */
export function refuseCount(label: string, count: number, { extraVifs: bridges = [] }: VmShape): AppError | undefined {
  const all = count + bridges.length;
  if (bridges.length === 0 || all <= MAX_VIFS) return undefined;
  return invalid(`copies of ${label} would have ${all} NICs, and ${MAX_VIFS} is the most`, {
    hint: `it has ${count}: give at most ${Math.max(0, MAX_VIFS - count)} --extra-vif`,
  });
}

/** A bridge of them that the host does not have. What it has not told of, it looks at itself. */
export function refuseBridges(fleet: Fleet, hostId: HostId, { extraVifs: names = [] }: VmShape): AppError | undefined {
  const known = fleet.bridgesOf(hostId);
  const missing = known && names.find((named) => chooseBridge({ named }, known).kind === 'refused');
  if (known === undefined || missing === undefined) return undefined;
  const host = fleet.hostName(hostId);
  const stock = known.bridges.length === 0 ? 'none' : describeBridges(known);
  return notFound(`host ${host} has no bridge ${missing} for --extra-vif: it has ${stock}`, {
    bridge: missing,
    hint: 'see domherd bridge list, or take hosts that have it: --on HOST',
  });
}
