import type { VmLook as WireLook } from '../../../shared/gen/domherd/v1/look.js';
import type { VmLook } from '../../domain/vm-look.js';

/** A cfg has tens of keys, a VM a few disks. What is beyond these is left out: it is for people to read. */
const MAX_SETTINGS = 1_000;
const MAX_VALUES = 256;
const MAX_DISKS = 256;
const MAX_REASONS = 16;
const MAX_TAIL_BYTES = 65_536;

/** Never throws: what a host says of itself is shown as it is. */
export function lookFrom({ cfg, disks, consoleTail, notKnown }: WireLook): VmLook {
  return {
    cfg: cfg
      .slice(0, MAX_SETTINGS)
      .map(({ key, values, list }) => ({ key, values: values.slice(0, MAX_VALUES), isList: list })),
    disks: disks.slice(0, MAX_DISKS).map(({ readOnly, ...disk }) => ({ ...disk, isReadOnly: readOnly })),
    consoleTail: consoleTail.subarray(-MAX_TAIL_BYTES),
    notKnown: notKnown.slice(0, MAX_REASONS),
  };
}

export function lookToWire({ cfg, disks, consoleTail, notKnown }: VmLook): WireLook {
  return {
    cfg: cfg.map(({ key, values, isList }) => ({ key, values: [...values], list: isList })),
    disks: disks.map(({ isReadOnly, ...disk }) => ({ ...disk, readOnly: isReadOnly })),
    consoleTail: Buffer.from(consoleTail),
    notKnown: [...notKnown],
  };
}
