import type { LeaseOwner, VmId } from '../../controller/domain/lease.js';
import type { VmKnowledge } from '../../controller/ports/vm-knowledge.js';

/** Every VM may be running until a test says that it is stopped. */
export class FakeVmKnowledge implements VmKnowledge {
  readonly stopped = new Set<VmId>();

  isKnownStopped(vmId: VmId): boolean {
    return this.stopped.has(vmId);
  }

  describeOwner(owner: LeaseOwner): string {
    return owner.kind === 'name' ? owner.name : `vm${String(owner.vmId)}@dom0-1#${String(owner.vifIndex)}`;
  }
}
