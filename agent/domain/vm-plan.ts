import type { NewDisk } from './new-disk.js';
import type { XlCfg } from './xl-cfg/syntax.js';

/** A VM to be made: what is not there yet, all of it. */
export interface VmPlan {
  readonly name: string;
  readonly cfg: XlCfg;
  /** In the order in which they are made; disks that the VM shares with others are not among them. */
  readonly disks: readonly NewDisk[];
  /** Its guest is the copy of another: it gets ssh host keys and a machine id of its own. */
  readonly isRenewed: boolean;
}
