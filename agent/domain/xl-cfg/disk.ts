import { invalid, notFound } from '../../../shared/errors.js';
import { type DiskFormat, type DiskSpec, parseDiskSpec } from './disk-spec.js';
import { splice } from './edit.js';
import { type Position, positionAt } from './fault.js';
import { encodeString, escapeFor, offsetInText, refuseInAtom } from './string-literal.js';
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

/**
 * Adds a raw disk that the guest may write, behind the others.
 *
 * @throws {AppError} `invalid` if the cfg has no list of disks, or `target` cannot be written
 */
export function addDisk(cfg: XlCfg, vdev: string, target: string): XlCfg {
  const last = listAtoms(cfg, 'disk')?.at(-1);
  if (last === undefined) throw invalid('The cfg has no disk that another one could be added to');
  if (!/^[^,\s]+$/.test(target)) throw invalid(`"${target}" cannot be the target of a disk: it has a comma or a blank`);
  const spec = `format=raw,vdev=${vdev},access=rw,target=${target}`;
  return splice(cfg, { start: last.end, end: last.end }, `, ${encodeString(spec, last.quote ?? "'")}`);
}

/**
 * Names in the guest that no disk has, nor a partition of one.
 *
 * @throws {AppError} `invalid` if there are none left
 */
export function freeVdevs(cfg: XlCfg, count: number): readonly string[] {
  const taken = new Set(listDisks(cfg).map(({ vdev }) => vdev.replace(/\d+$/, '').replace(/^[hs]d/, 'xvd')));
  const free = [...'abcdefghijklmnop'].map((letter) => `xvd${letter}`).filter((vdev) => !taken.has(vdev));
  if (free.length < count) throw invalid('The cfg has no names left for further disks');
  return free.slice(0, count);
}

/**
 * Gives a disk another target and format; where the format stays, every other byte does. Where it changes, or a device becomes a
 * file, the disk is written anew, and what its former kind was told is left out.
 *
 * @param format `raw` or `qcow2`
 * @throws {AppError} as {@link setDiskTarget}
 */
export function setDisk(cfg: XlCfg, { index, ...disk }: Disk, target: string, format: DiskFormat): XlCfg {
  const becomesFile = disk.target.startsWith('/dev/') && !target.startsWith('/dev/');
  if (disk.format === format && !becomesFile) return setDiskTarget(cfg, index, target);
  const atom = listAtoms(cfg, 'disk')?.[index];
  if (atom === undefined) throw notFound(`The configuration has no disk ${index}`);
  if (!/^[^,\s]+$/.test(target)) throw invalid(`"${target}" cannot be the target of a disk: it has a comma or a blank`);
  const spec = `format=${format},vdev=${disk.vdev},access=${disk.access},target=${target}`;
  return splice(cfg, atom, encodeString(spec, atom.quote ?? "'"));
}
