import { type AppError, invalid } from '../../../shared/errors.js';
import { type Disk, listDisks } from '../xl-cfg/disk.js';
import type { XlCfg } from '../xl-cfg/syntax.js';
import { getString } from '../xl-cfg/xl-cfg.js';

/**
 * The disks of dom0 that may hold the guest's root: the one that the kernel is told of, or all that can be it, in the order
 * of the cfg, if the kernel looks for it by label.
 *
 * @throws {AppError} `invalid`, with a hint, if there is none that could be edited
 */
export function rootDisks(cfg: XlCfg): readonly Disk[] {
  const disks = listDisks(cfg).filter((disk) => !disk.isCdrom);
  if (disks.length === 0) throw invalid('The cfg has no disk', { hint: "disk = ['file:/path/disk.img,xvda2,w']" });
  const device = rootDevice(cfg);
  const named = device === undefined ? undefined : disks.find(({ vdev }) => vdev === device);
  if (named !== undefined) return [checked(named)];
  if (device !== undefined) throw noSuchDisk(device, disks);
  const candidates = disks.filter((disk) => refusalOf(disk) === undefined);
  const [first] = disks;
  if (candidates.length === 0 && first !== undefined) return [checked(first)];
  return candidates;
}

/** `xvda2` of `root=/dev/xvda2 ro`; `undefined` if the kernel is told a label, or nothing here. */
function rootDevice(cfg: XlCfg): string | undefined {
  const ofLine = (text: string | undefined): string | undefined => /(?:^|\s)root=(\S+)/.exec(text ?? '')?.[1];
  const root = getString(cfg, 'root')?.trim().split(/\s+/)[0];
  const device = ofLine(getString(cfg, 'extra')) ?? ofLine(getString(cfg, 'cmdline')) ?? root;
  return /^\/dev\/([a-z]+\d*)$/.exec(device ?? '')?.[1];
}

function noSuchDisk(device: string, disks: readonly Disk[]): AppError {
  const whole = disks.find(({ vdev }) => device.startsWith(vdev) && /^\d+$/.test(device.slice(vdev.length)));
  if (whole !== undefined) {
    return invalid(`The root /dev/${device} is a partition of the whole disk ${whole.target}`, {
      hint: 'domherd edits a disk that is one file system: give the VM one disk a partition, or set the address inside it',
    });
  }
  const known = disks.map(({ vdev }) => vdev).join(', ');
  return invalid(`The root is /dev/${device}, and the cfg has no such disk`, { hint: `its disks are ${known}` });
}

function checked(disk: Disk): Disk {
  const refusal = refusalOf(disk);
  if (refusal !== undefined) throw refusal;
  return disk;
}

function refusalOf({ target, format, script, access, vdev }: Disk): AppError | undefined {
  const refuse = (why: string, hint: string): AppError => invalid(`The disk ${vdev} ${why}`, { disk: target, hint });
  const rawHint = 'use a raw file or a block device with one ext file system';
  if (script !== undefined) return refuse(`is attached by the script ${script}`, rawHint);
  if (format !== 'raw') return refuse(`is a ${format} image`, `qemu-img convert -O raw; ${rawHint}`);
  if (!/^\/(?!.*(^|\/)\.\.(\/|$))/.test(target) || /[\p{Cc}]/u.test(target)) {
    return refuse(`has the path "${target}"`, 'write an absolute path without ".."');
  }
  if (access === 'r') return refuse('is read only, others may read it too', 'attach it with w');
  return undefined;
}
