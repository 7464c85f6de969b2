/** What a host sees of one VM when it is asked. */
export interface VmLook {
  /** In the order of the file. */
  readonly cfg: readonly CfgSetting[];
  readonly disks: readonly LookedDisk[];
  /** The last lines of its console, as the guest wrote them. */
  readonly consoleTail: Uint8Array;
  /** For people: each part that is not known, and why. */
  readonly notKnown: readonly string[];
}

export interface CfgSetting {
  readonly key: string;
  /** One, unless it is a list. */
  readonly values: readonly string[];
  readonly isList: boolean;
}

export interface LookedDisk {
  readonly vdev: string;
  /** On the host; empty for a drive without a disc. */
  readonly target: string;
  readonly format: string;
  readonly isReadOnly: boolean;
  /** As the guest sees it. 0: not known. */
  readonly sizeBytes: bigint;
  /** Taken on the host, holes left out. */
  readonly usedBytes: bigint;
  /** Whose blocks it shares; empty: nobody's that is known. */
  readonly origin: string;
  /** How it was made; empty: not by domherd. */
  readonly storage: string;
  /** For people: why no more is known; may be empty. */
  readonly problem: string;
}

/** @param why for people */
export function nothingSeen(why: string): VmLook {
  return { cfg: [], disks: [], consoleTail: new Uint8Array(), notKnown: [`cfg, disks and console: ${why}`] };
}
