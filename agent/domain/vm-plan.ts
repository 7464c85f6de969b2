import type { RenewSettings } from './guest/renew-plan.js';
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
  /** Of those who may log in as its root. */
  readonly authorizedKeys?: readonly string[] | undefined;
}

/** What its guest is told, besides what makes it a machine of its own. */
export function renewSettingsOf({ cfg, disks, authorizedKeys }: VmPlan): RenewSettings {
  const swap = disks.find(({ source }) => source.kind === 'swap');
  const disk = swap && listDisks(cfg).find(({ target }) => target === swap.place.path);
  return { authorizedKeys, swapDevice: disk && `/dev/${disk.vdev}` };
}
