import type { Storage } from '../../shared/domain/vm-shape.js';
import type { HostId, Vm } from '../domain/vm.js';
import type { VmJob } from '../domain/vm-job.js';
import type { VmJobStore } from '../ports/store.js';

/** Until the VM is on its new host: the row is that one's. Gone with it, nothing has happened. */
export const MIGRATE_JOB = 'migrate';
/** From then on: the row is the former host's, which still has something. Gone with it, nothing is to be done there. */
export const LEAVE_JOB = 'leave';

/** What is kept of a migration, of either kind. */
export interface MoveData {
  readonly vmId: Vm['id'];
  readonly sourceHostId: HostId;
  readonly sourceKey: string;
  readonly targetHostId: HostId;
  readonly targetKey: string;
  readonly vmName: string;
  readonly actor: string;
  /** It is to be started again. */
  readonly wasUp: boolean;
  readonly isAutostarted: boolean;
  readonly timeoutSeconds: number;
  readonly isDestroyedAfter: boolean;
  /** How its disks are kept on its new host; left out: in files. */
  readonly storage?: Storage | undefined;
  /** Of the removal on its new host, should it be undone: a VM that is made there later is not hit by it. */
  readonly removeOrderId: string;
  /** It goes while it runs, and its disks stay where they are; left out: cold. */
  readonly migrationId?: string | undefined;
}

export function moveOf({ data }: VmJob): MoveData {
  return JSON.parse(data) as MoveData;
}

export interface Move extends MoveData {
  readonly isMoved: boolean;
}

/**
 * The migration that has its hand on this: on the VM and what is made of it, while it is not decided which host has it; then on
 * what the other host has of it.
 */
export function findMove(jobs: VmJobStore, vm: Pick<Vm, 'id' | 'hostId' | 'key'>): Move | undefined {
  for (const job of jobs.listLive(MIGRATE_JOB)) {
    const move = moveOf(job);
    const isMade = move.targetHostId === vm.hostId && move.targetKey === vm.key;
    if (isMade || (job.state === 'running' && move.vmId === vm.id)) return { ...move, isMoved: false };
  }
  for (const job of jobs.listLive(LEAVE_JOB)) {
    if (job.hostId === vm.hostId && job.vmKey === vm.key) return { ...moveOf(job), isMoved: true };
  }
  return undefined;
}

/** The migration of the VM that is not over, or one that has to do with that place. */
export function findMoveInTheWay(jobs: VmJobStore, vmId: Vm['id'], hostId: HostId, key: string): MoveData | undefined {
  return [...jobs.listLive(MIGRATE_JOB), ...jobs.listLive(LEAVE_JOB)]
    .map(moveOf)
    .find(
      (move) =>
        move.vmId === vmId ||
        (move.targetHostId === hostId && move.targetKey === key) ||
        (move.sourceHostId === hostId && move.sourceKey === key),
    );
}
