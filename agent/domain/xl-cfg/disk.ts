import { invalid, notFound } from '../../../shared/errors.js';
import { type DiskSpec, parseDiskSpec } from './disk-spec.js';
import { splice } from './edit.js';
import { type Position, positionAt } from './fault.js';
import { escapeFor, offsetInText, refuseInAtom } from './string-literal.js';
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

/**
 * Gives a disk another target; every other byte stays.
 *
 * @param index from 0
 * @param target a path without `,` and blanks
 * @throws {AppError} `not_found` for an unknown index; `invalid` for a target that cannot be written, or a disk whose old one
 *   stands in it more than once
 */
export function setDiskTarget(cfg: XlCfg, index: number, target: string): XlCfg {
  const atom = listAtoms(cfg, 'disk')?.[index];
  const disk = listDisks(cfg)[index];
  if (atom === undefined || disk === undefined) throw notFound(`The configuration has no disk ${index}`);
  if (disk.target === target) return cfg;
  if (!/^[^,\s]+$/.test(target)) throw invalid(`"${target}" cannot be the target of a disk: it has a comma or a blank`);
  const start = atom.value.indexOf(disk.target);
  const isOnce = disk.target !== '' && start === atom.value.lastIndexOf(disk.target);
  if (!isOnce || atom.quote === undefined) {
    throw invalid(`The target of the disk ${disk.vdev} cannot be told from the rest of "${atom.value}"`, {
      hint: "write it as 'format=raw, vdev=xvda2, access=rw, target=/path'",
    });
  }
  const span = {
    start: offsetInText(cfg.text, atom, start),
    end: offsetInText(cfg.text, atom, start + disk.target.length),
  };
  const edited = splice(cfg, span, escapeFor(target, atom.quote));
  if (listDisks(edited)[index]?.target !== target) throw invalid(`"${target}" cannot be the target of a disk`);
  return edited;
}
