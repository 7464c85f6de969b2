import type { RenewSettings } from './guest/renew-plan.js';
import { rootDisks } from './guest/root-disk.js';
import type { NewDisk } from './new-disk.js';
import { listDisks } from './xl-cfg/disk.js';
import type { XlCfg } from './xl-cfg/syntax.js';

/** A VM to be made: what is not there yet, all of it. */
export interface VmPlan {
  readonly name: string;
  readonly cfg: XlCfg;
  /** In the order in which they are made; disks that the VM shares with others are not among them. */
  readonly disks: readonly NewDisk[];
  /** Its guest is the copy of another: it gets ssh host keys and a machine id of its own. */
  readonly isRenewed: boolean;
  /** It is the VM itself, from another host: nobody can give it another name. */
  readonly isMoved?: boolean;
  /** Of those who may log in as its root. */
  readonly authorizedKeys?: readonly string[] | undefined;
  /** For cloud-init, in the place of its source's. */
  readonly userData?: string | undefined;
}

/** The disk that was made longer than its source; `isRoot`: its guest's root may be on it, and is to be as long. */
export function grownDisk({ cfg, disks }: VmPlan): { readonly path: string; readonly isRoot: boolean } | undefined {
  const path = disks.find(({ sizeBytes }) => sizeBytes !== undefined)?.place.path;
  return path === undefined ? undefined : { path, isRoot: mayBeRoot(cfg, path) };
}

/** Of a cfg whose root cannot be told the one who looks inside will say why. */
function mayBeRoot(cfg: XlCfg, path: string): boolean {
  try {
    return rootDisks(cfg).some(({ target }) => target === path);
  } catch {
    return true;
  }
}

/** What its guest is told, besides what makes it a machine of its own. */
export function renewSettingsOf({ cfg, disks, authorizedKeys, userData }: VmPlan): RenewSettings {
  const swap = disks.find(({ source }) => source.kind === 'swap');
  const disk = swap && listDisks(cfg).find(({ target }) => target === swap.place.path);
  return { authorizedKeys, userData, swapDevice: disk && `/dev/${disk.vdev}` };
}
