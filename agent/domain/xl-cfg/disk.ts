import { type DiskSpec, parseDiskSpec } from './disk-spec.js';
import { type Position, positionAt } from './fault.js';
import { refuseInAtom } from './string-literal.js';
import type { XlCfg } from './syntax.js';
import { listAtoms } from './xl-cfg.js';

/** One entry of the disk list. Its line and column are those of its opening quote. */
export interface Disk extends DiskSpec, Position {
  /** From 0. */
  readonly index: number;
}

/**
 * The disks in the order xl counts them; empty if the cfg has no disk list.
 *
 * @throws {AppError} `invalid` with `line` and `column` for a disk that xl would refuse
 */
export function listDisks(cfg: XlCfg): readonly Disk[] {
  return (listAtoms(cfg, 'disk') ?? []).map((atom, index) => ({
    index,
    ...positionAt(cfg.text, atom.start),
    ...parseDiskSpec(atom.value, refuseInAtom(cfg.text, atom)),
  }));
}
