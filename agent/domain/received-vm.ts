import { AppError, invalid, wrongState } from '../../shared/errors.js';
import type { FilePiece, TransferHead } from '../../shared/domain/transfer.js';
import { planCopy, type CopySettings } from './copy-plan.js';
import type { StorageFacts } from './storage-choice.js';
import type { ObservedVm } from './vm.js';
import type { VmPlan } from './vm-plan.js';
import { listDisks, setDiskTarget, type Disk } from './xl-cfg/disk.js';
import type { XlCfg } from './xl-cfg/syntax.js';
import { getString } from './xl-cfg/xl-cfg.js';

/** A VM that is on its way from another host. */
export interface ReceivedVm {
  readonly cfg: XlCfg;
  readonly head: TransferHead;
  /** What comes of one file of the head. */
  readonly piecesOf: (file: number) => AsyncIterable<FilePiece>;
}

/**
 * The disks of a VM that go with it to another host: those that it writes.
 *
 * @throws {AppError} `wrong_state` if it is not stopped; `invalid` for a disk that is no raw image file
 */
export function disksToSend({ name, state }: ObservedVm, cfg: XlCfg): readonly Disk[] {
  if (state !== 'stopped') {
    throw wrongState(`${name} is ${state}: it goes to another host while it is stopped`, {
      state,
      hint: `domherd vm shutdown ${name}`,
    });
  }
  const disks = writtenDisks(cfg);
  for (const { vdev, target, format, script } of disks) {
    if (script === undefined && format === 'raw' && isFile(target)) continue;
    throw invalid(`The disk ${vdev}, ${target}, is no raw image file: it cannot go to another host`, {
      disk: target,
      hint: 'copy it into a raw image file: qemu-img convert -O raw, or dd',
    });
  }
  return disks;
}

/** Files of dom0 that the VM needs and does not bring along: its kernel, disks that it only reads. */
export function filesNeeded(cfg: XlCfg): readonly string[] {
  const named = ['kernel', 'ramdisk', 'bootloader'].flatMap((key) => getString(cfg, key) ?? []);
  const shared = listDisks(cfg).filter(({ access, isCdrom }) => access !== 'w' || isCdrom);
  return [...named, ...shared.map(({ target }) => target)].filter((path) => path.startsWith('/'));
}

/** A copy, as {@link planCopy} makes one of a VM of this host. */
export function planReceivedCopy({ cfg, head, piecesOf }: ReceivedVm, settings: CopySettings): VmPlan {
  const plan = planCopy(stoppedVm(cfg), cfg, settings, factsOf(cfg));
  const disks = plan.disks.map((disk) => {
    const { source, place } = disk;
    if (source.kind !== 'copy') return disk;
    if (place.storage !== 'copy') throw notShared(place.path);
    return { ...disk, source: received(head, source.path, piecesOf) };
  });
  return { ...plan, disks };
}

/**
 * The VM itself, which stays what it was. Its disks get the paths that they had, or, where those are taken, others.
 *
 * @param taken paths that are in use on this host
 */
export function planMoved({ cfg, head, piecesOf }: ReceivedVm, taken: ReadonlySet<string>): VmPlan {
  const { name } = stoppedVm(cfg);
  const moves = writtenDisks(cfg).map(({ index, target }) => ({
    index,
    from: target,
    to: freePath(target, name, taken),
  }));
  return {
    name,
    cfg: moves.reduce((edited, { index, to }) => setDiskTarget(edited, index, to), cfg),
    disks: moves.map(({ from, to }) => ({
      source: received(head, from, piecesOf),
      place: { path: to, storage: 'copy' },
    })),
    isRenewed: false,
  };
}

/** Where the disk was, or else in a folder of the VM's name beside, or else under its name where it was. */
export function pathsFor(target: string, name: string): readonly string[] {
  const parts = target.split('/');
  const file = parts.pop() ?? '';
  const above = parts.length > 2 ? parts.slice(0, -1) : parts;
  return [target, [...above, name, file].join('/'), [...parts, `${name}-${file}`].join('/')];
}

/** Its disks become files here, which share nothing with what is on the other host. */
function factsOf(cfg: XlCfg): StorageFacts {
  const file = { kind: 'file', canReflink: false, backingFile: undefined } as const;
  return {
    disks: new Map(writtenDisks(cfg).map(({ target }) => [target, file])),
    swaps: new Set(),
    groups: [],
    overlayRefusal: { why: 'its source is on another host', hint: '--storage copy, or leave it out' },
  };
}

function freePath(target: string, name: string, taken: ReadonlySet<string>): string {
  const free = pathsFor(target, name).find((path) => !taken.has(path));
  if (free !== undefined) return free;
  throw new AppError('already_exists', `There is a file ${target} already`, {
    path: target,
    hint: 'move it out of the way, or take another host',
  });
}

function received(head: TransferHead, path: string, piecesOf: ReceivedVm['piecesOf']) {
  const file = head.files.findIndex(({ name }) => name === path);
  const found = head.files[file];
  if (found === undefined) throw invalid(`The disk ${path} of the VM does not come with it`, { disk: path });
  const { sizeBytes, usedBytes } = found;
  return { kind: 'received', path, sizeBytes, usedBytes, pieces: piecesOf(file) } as const;
}

/** All that is told of it here: it has its state on the host that sends it. */
function stoppedVm(cfg: XlCfg): ObservedVm {
  const name = getString(cfg, 'name');
  if (name === undefined) throw invalid('The cfg that came has no name');
  return {
    ...{ key: '', name, cfgPath: undefined, uuid: undefined, state: 'stopped' },
    ...{ memoryMib: 0, vcpus: 0, vifs: [], problem: undefined },
  };
}

function writtenDisks(cfg: XlCfg): readonly Disk[] {
  return listDisks(cfg).filter(({ access, isCdrom }) => access === 'w' && !isCdrom);
}

function isFile(target: string): boolean {
  return target.startsWith('/') && !target.startsWith('/dev/');
}

function notShared(path: string): AppError {
  return invalid(`${path} can share nothing with a disk of another host`, { hint: 'leave --storage out' });
}
