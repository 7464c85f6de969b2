import type { VmJob } from '../domain/vm-job.js';
import type { HostId, Vm } from '../domain/vm.js';
import type { VmJobStore } from '../ports/store.js';

/**
 * From before its host is told until that has said what became of it, and then for who asks again; one that failed is forgotten.
 * The job's name is the VM's new one.
 */
export const RENAME_JOB = 'rename';

export interface RenameData {
  readonly vmId: Vm['id'];
  readonly formerName: string;
  readonly formerKey: string;
  readonly actor: string;
  /** For people, once it has ended. */
  readonly warnings?: readonly string[] | undefined;
}

export interface Rename extends RenameData {
  readonly hostId: HostId;
  readonly name: string;
  /** Its key from then on. */
  readonly key: string;
}

export function renameOf({ hostId, vmKey, name, data }: VmJob): Rename {
  return { ...(JSON.parse(data) as RenameData), hostId, key: vmKey, name };
}

export function liveRenames(jobs: VmJobStore): readonly Rename[] {
  return jobs.listLive(RENAME_JOB).map(renameOf);
}
