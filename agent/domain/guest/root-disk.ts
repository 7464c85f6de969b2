import { type AppError, invalid } from '../../../shared/errors.js';
import { type Disk, listDisks } from '../xl-cfg/disk.js';
import type { XlCfg } from '../xl-cfg/syntax.js';
import { getString } from '../xl-cfg/xl-cfg.js';

/** Where a guest's root may be. */
export interface RootPlace {
  /** A file or block device of dom0. */
  readonly target: string;
  readonly format: 'raw' | 'qcow2';
  /** Of a whole disk, the number that the kernel is told; `undefined`: it is to be looked for, if there are partitions. */
  readonly partition: number | undefined;
}

/**
 * The disks of dom0 that may hold the guest's root: the one that the kernel is told of, or all that can be it, in the order
 * of the cfg, if the kernel looks for it by label.
 *
 * @throws {AppError} `invalid`, with a hint, if there is none that could be edited
 */
export function rootDisks(cfg: XlCfg): readonly RootPlace[] {
  const disks = listDisks(cfg).filter((disk) => !disk.isCdrom);
  if (disks.length === 0) throw invalid('The cfg has no disk', { hint: "disk = ['file:/path/disk.img,xvda2,w']" });
  const device = rootDevice(cfg);
  const named = device === undefined ? undefined : disks.find(({ vdev }) => vdev === device);
  if (named !== undefined) return [placeIn(named)];
  if (device !== undefined) return [wholeDisk(device, disks)];
  const candidates = disks.filter((disk) => refusalOf(disk) === undefined);
  const [first] = disks;
  if (candidates.length === 0 && first !== undefined) return [placeIn(first)];
  return candidates.map((disk) => placeIn(disk));
}

function placeIn(disk: Disk, partition?: number): RootPlace {
  const refusal = refusalOf(disk);
  if (refusal !== undefined) throw refusal;
  return { target: disk.target, format: disk.format === 'qcow2' ? 'qcow2' : 'raw', partition };
}

/** `xvda2` of `root=/dev/xvda2 ro`; `undefined` if the kernel is told a label, or nothing here. */
function rootDevice(cfg: XlCfg): string | undefined {
  const ofLine = (text: string | undefined): string | undefined => /(?:^|\s)root=(\S+)/.exec(text ?? '')?.[1];
  const root = getString(cfg, 'root')?.trim().split(/\s+/)[0];
  const device = ofLine(getString(cfg, 'extra')) ?? ofLine(getString(cfg, 'cmdline')) ?? root;
  return /^\/dev\/([a-z]+\d*)$/.exec(device ?? '')?.[1];
}

/** The disk that `xvda2` is a partition of. */
function wholeDisk(device: string, disks: readonly Disk[]): RootPlace {
  const whole = disks.find(({ vdev }) => device.startsWith(vdev) && /^[1-9]\d*$/.test(device.slice(vdev.length)));
  if (whole !== undefined) return placeIn(whole, Number(device.slice(whole.vdev.length)));
  const known = disks.map(({ vdev }) => vdev).join(', ');
  throw invalid(`The root is /dev/${device}, and the cfg has no such disk`, { hint: `its disks are ${known}` });
}

function refusalOf({ target, format, script, access, vdev }: Disk): AppError | undefined {
  const refuse = (why: string, hint: string): AppError => invalid(`The disk ${vdev} ${why}`, { disk: target, hint });
  const rawHint = 'use a raw file or a block device with one ext file system';
  if (script !== undefined) return refuse(`is attached by the script ${script}`, rawHint);
  if (format !== 'raw' && format !== 'qcow2')
    return refuse(`is a ${format} image`, `qemu-img convert -O raw; ${rawHint}`);
  if (!/^\/(?!.*(^|\/)\.\.(\/|$))/.test(target) || /[\p{Cc}]/u.test(target)) {
    return refuse(`has the path "${target}"`, 'write an absolute path without ".."');
  }
  // The programs of e2fsprogs take what follows for options of theirs.
  if (target.includes('?')) return refuse(`has a question mark in its path "${target}"`, 'give the file another name');
  if (access === 'r') return refuse('is read only, others may read it too', 'attach it with w');
  return undefined;
}
