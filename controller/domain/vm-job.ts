import type { HostId } from './vm.js';

export type VmJobId = number;

export const VM_JOB_STATES = ['running', 'undoing', 'done', 'undone'] as const;
/** `undoing`: what was made is to be taken away again, as soon as its host can be told. */
export type VmJobState = (typeof VM_JOB_STATES)[number];

/** Something that is done with one VM by several orders: all of it, or nothing. Times are milliseconds since 1970. */
export interface VmJob {
  readonly id: VmJobId;
  /** "create", "delete", ... */
  readonly kind: string;
  readonly requestId: string;
  /** Of the request: the same id with another one is refused. */
  readonly fingerprint: string;
  readonly name: string;
  readonly hostId: HostId;
  /** Of the VM on its host. */
  readonly vmKey: string;
  /** Of the first order: repeated after a restart, the host does not run it twice. */
  readonly orderId: string;
  readonly state: VmJobState;
  /** JSON: what is to be done; once it has ended, what came of it. */
  readonly data: string;
  readonly changedAtMs: number;
}

export type NewVmJob = Omit<VmJob, 'id' | 'state'>;

export function isLiveJob({ state }: Pick<VmJob, 'state'>): boolean {
  return state === 'running' || state === 'undoing';
}
