import type { Ipv4 } from '../../shared/domain/ipv4.js';
import type { Mac } from '../../shared/domain/mac.js';
import type { VmId } from './lease.js';

export type HostId = number;

export const VM_STATES = ['unknown', 'stopped', 'starting', 'running', 'paused', 'stopping', 'crashed'] as const;
/** `unknown` is never to be read as stopped. */
export type VmState = (typeof VM_STATES)[number];

export interface ObservedVif {
  readonly index: number;
  /** As the cfg has it; `undefined` when it has none, or one that is no MAC. */
  readonly mac: Mac | undefined;
  readonly bridge: string | undefined;
  /** In the guest's own files, where known. */
  readonly guestAddress: Ipv4 | undefined;
}

/** What a host says of one of its domUs. It claims nothing. */
export interface ObservedVm {
  /** cfg path, or "domain:<uuid>" for a domain without one. Unique on its host. */
  readonly key: string;
  readonly name: string;
  readonly cfgPath: string | undefined;
  readonly uuid: string | undefined;
  readonly state: VmState;
  readonly memoryMib: number;
  readonly vcpus: number;
  readonly vifs: readonly ObservedVif[];
  /** The public ssh host keys in the guest's own files, each as "TYPE BASE64"; `undefined` or empty: not known. */
  readonly hostKeys?: readonly string[] | undefined;
  /** Its host starts it when that boots; `undefined`: not told since this controller started. */
  readonly isAutostarted?: boolean | undefined;
  /** Why it cannot be managed (a cfg that xl would refuse, ...). */
  readonly problem: string | undefined;
}

/** A domU as the controller keeps it: the id is the controller's, the rest is the last observation. */
export interface Vm extends ObservedVm {
  readonly id: VmId;
  readonly hostId: HostId;
  readonly observedAtMs: number;
  /** The host no longer has it; kept while a lease names it. */
  readonly isGone: boolean;
}

/** The problem of a VM that its host is to make, while a lease names it already. */
export const NOT_MADE = 'not made yet';

/** Why nothing can be done with a VM that its host does not have; goes on after "VM web is". */
export function whyGone({ problem }: Pick<Vm, 'problem'>): string {
  return problem === NOT_MADE ? NOT_MADE : 'gone from its host';
}

/** States in which a domU may use its address on the wire; `unknown` is one. */
export function mayBeOnWire(state: VmState): boolean {
  return state !== 'stopped';
}
