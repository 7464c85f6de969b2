import type { LeaseOwner, VmId } from '../domain/lease.js';

/** What is known now of the VMs that own leases. */
export interface VmKnowledge {
  /** True only if its host is connected and says so, or both are gone for good; silence is not "stopped". */
  isKnownStopped(vmId: VmId): boolean;
  /** The owner for people: NAME@HOST#vif, or the free name. */
  describeOwner(owner: LeaseOwner): string;
}
