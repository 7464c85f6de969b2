import type { KeptAs } from './new-disk.js';
import type { XlCfg } from './xl-cfg/syntax.js';
import { getString, listAtoms } from './xl-cfg/xl-cfg.js';

/** What a host sees of one VM when it is asked. */
export interface VmLook {
  readonly cfg: readonly CfgSetting[];
  readonly disks: readonly LookedDisk[];
  /** The last lines of its console, as the guest wrote them. */
  readonly consoleTail: Uint8Array;
  /** For people: each part that could not be looked at, and why. */
  readonly notKnown: readonly string[];
}

/** What xl makes of a key. */
export interface CfgSetting {
  readonly key: string;
  /** One character a byte; one, unless it is a list. */
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
  readonly sizeBytes: number;
  /** Taken on the host, holes left out. */
  readonly usedBytes: number;
  /** Whose blocks it shares; `undefined`: nobody's that is known. */
  readonly origin: string | undefined;
  /** `undefined`: it was not made by domherd. */
  readonly storage: KeptAs | undefined;
  /** For people: why no more is known. */
  readonly problem: string | undefined;
}

const MASK = '***';

/** In the order of the file; of a key that comes twice what counts, where it comes first. Passwords are masked. */
export function readSettings(cfg: XlCfg): readonly CfgSetting[] {
  const keys = new Set(cfg.assignments.map(({ key }) => key));
  return [...keys].map((key) => {
    const text = getString(cfg, key);
    const values = text === undefined ? (listAtoms(cfg, key) ?? []).map(({ value }) => value) : [text];
    return { key, values: values.map((value) => masked(key, value)), isList: text === undefined };
  });
}

/** `vncpasswd = 'x'`, or `vfb = ['vnc=1,vncpasswd=x']`; of all that may be a secret, and of nothing else. */
function masked(key: string, value: string): string {
  if (/passw(?:or)?d$/.test(key)) return value === '' ? '' : MASK;
  return value.replaceAll(/(passw(?:or)?d=)[^,]+/gi, `$1${MASK}`);
}
