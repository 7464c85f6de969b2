import { AppError, invalid, wrongState } from '../../shared/errors.js';
import type { FilePiece, TransferHead } from '../../shared/domain/transfer.js';
import { planCopy, type CopySettings } from './copy-plan.js';
import type { DiskImage, NewDisk } from './new-disk.js';
import { keepIn, withoutSuffix, type OwnStore } from './own-store.js';
import type { StorageFacts } from './storage-choice.js';
import type { ObservedVm } from './vm.js';
import type { VmPlan } from './vm-plan.js';
import { listDisks, setDisk, setDiskTarget, type Disk } from './xl-cfg/disk.js';
import type { XlCfg } from './xl-cfg/syntax.js';
import { getString } from './xl-cfg/xl-cfg.js';

/** A VM that is on its way from another host. */
export interface ReceivedVm {
  readonly cfg: XlCfg;
  readonly head: TransferHead;
  /** What comes of one file of the head. */
  readonly piecesOf: (file: number) => AsyncIterable<FilePiece>;
}

/** What this host has for the disks of such a VM. */
export interface ReceiverFacts {
  /** Of disks that were no files where they come from: absolute. */
  readonly folder: string;
  readonly store: OwnStore;
}

/**
 * The disks of a VM that go with it to another host: those that it writes. What is sent of one is what its guest sees of it,
 * whatever it is kept in.
 *
 * @throws {AppError} `wrong_state` if it is not stopped; `invalid` for a disk whose bytes cannot be told
 */
export function disksToSend({ name, state }: ObservedVm, cfg: XlCfg): readonly DiskImage[] {
  if (state !== 'stopped') {
    throw wrongState(`${name} is ${state}: it goes to another host while it is stopped`, {
      state,
      hint: `domherd vm shutdown ${name}`,
    });
  }
  return writtenDisks(cfg).map(({ vdev, target, format, script }) => {
    const isQcow2File = format === 'qcow2' && !isDevice(target);
    if (script === undefined && target.startsWith('/') && (format === 'raw' || isQcow2File)) {
      return { path: target, format: isQcow2File ? 'qcow2' : 'raw' };
    }
    throw invalid(`The disk ${vdev}, ${target}, is none that can go to another host: ${script ?? format}`, {
      disk: target,
      hint: 'raw and qcow2 image files and block devices can: qemu-img convert, or dd',
    });
  });
}

/** Files of dom0 that the VM needs and does not bring along: its kernel, disks that it only reads. */
export function filesNeeded(cfg: XlCfg): readonly string[] {
  const named = ['kernel', 'ramdisk', 'bootloader'].flatMap((key) => getString(cfg, key) ?? []);
  const shared = listDisks(cfg).filter(({ access, isCdrom }) => access !== 'w' || isCdrom);
  return [...named, ...shared.map(({ target }) => target)].filter((path) => path.startsWith('/'));
}

/**
 * A copy, as {@link planCopy} makes one of a VM of this host.
 *
 * @throws {AppError} as {@link planCopy}
 */
export function planReceivedCopy(received: ReceivedVm, settings: CopySettings, facts: ReceiverFacts): VmPlan {
  const source = asFiles(received.cfg, facts.folder);
  const shape = { ...settings.shape, storage: 'copy' } as const;
  const plan = planCopy(stoppedVm(source.cfg), source.cfg, { ...settings, shape }, factsOf(source));
  const disks = plan.disks.map((disk): NewDisk => {
    if (disk.source.kind !== 'copy') return disk;
    const came = source.cameAs.get(disk.source.path) ?? disk.source.path;
    return { ...disk, source: receivedSource(received, came), reason: undefined };
  });
  return keepIn(facts.store, { ...plan, disks });
}

/**
 * The VM itself, which stays what it was. Disks that are files get the paths that they had, or, where those are taken, others.
 *
 * @param taken paths that are in use on this host
 */
export function planMoved(received: ReceivedVm, { folder, store }: ReceiverFacts, taken: ReadonlySet<string>): VmPlan {
  const source = asFiles(received.cfg, folder);
  const { name } = stoppedVm(source.cfg);
  const used = new Set(taken);
  const moves = writtenDisks(source.cfg).map(({ index, target }) => {
    const to = freePath(target, name, used);
    used.add(to);
    return { index, from: source.cameAs.get(target) ?? target, to };
  });
  return keepIn(store, {
    name,
    cfg: moves.reduce((edited, { index, to }) => setDiskTarget(edited, index, to), source.cfg),
    disks: moves.map(({ from, to }) => ({
      source: receivedSource(received, from),
      place: { path: to, storage: 'copy' },
    })),
    isRenewed: false,
    isMoved: true,
  });
}

/** All paths that {@link planMoved} may take. */
export function pathsForMoved(cfg: XlCfg, folder: string): readonly string[] {
  const source = asFiles(cfg, folder);
  const { name } = stoppedVm(source.cfg);
  return writtenDisks(source.cfg).flatMap(({ target }) => pathsFor(target, name));
}

/** Where the disk was, or else in a folder of the VM's name beside, or else under its name where it was. */
function pathsFor(target: string, name: string): readonly string[] {
  const parts = target.split('/');
  const file = parts.pop() ?? '';
  const above = parts.length > 2 ? parts.slice(0, -1) : parts;
  return [target, [...above, name, file].join('/'), [...parts, `${name}-${file}`].join('/')];
}

interface FileSource {
  readonly cfg: XlCfg;
  /** By target in that cfg: what it is called on the host that sends it. */
  readonly cameAs: ReadonlyMap<string, string>;
}

/** The VM as if raw files had been its disks: a volume as one in the folder of the VMs here, a qcow2 image with another suffix. */
function asFiles(cfg: XlCfg, folder: string): FileSource {
  const { name } = stoppedVm(cfg);
  const cameAs = new Map<string, string>();
  let edited = cfg;
  for (const disk of writtenDisks(cfg)) {
    const { target, format, vdev } = disk;
    const isOther = isDevice(target) || format !== 'raw';
    const taken = new Set([...listDisks(edited).map((each) => each.target), ...cameAs.keys()]);
    const path = isDevice(target) ? `${folder}/${name}/${vdev}.img` : `${withoutSuffix(target)}.img`;
    const file = !isOther ? target : path !== target && taken.has(path) ? `${target}.img` : path;
    if (isOther) edited = setDisk(edited, disk, file, 'raw');
    cameAs.set(file, target);
  }
  return { cfg: edited, cameAs };
}

/** They share nothing with what is on the other host. */
function factsOf({ cfg }: FileSource): StorageFacts {
  const file = { kind: 'file', canReflink: false, backingFile: undefined } as const;
  return {
    disks: new Map(writtenDisks(cfg).map(({ target }) => [target, file])),
    ...{ swaps: new Set(), groups: [], overlayRefusal: undefined },
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

function receivedSource({ head, piecesOf }: ReceivedVm, path: string) {
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

function isDevice(target: string): boolean {
  return target.startsWith('/dev/');
}
