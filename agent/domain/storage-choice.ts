import { AppError, invalid, type ErrorDetails } from '../../shared/errors.js';
import type { Storage } from '../../shared/domain/vm-shape.js';
import type { DiskFormat, KeptAs, StoredDisk } from './new-disk.js';
import type { Disk } from './xl-cfg/disk.js';

/** What is behind the target of a disk. */
export type DiskKind =
  | {
      readonly kind: 'file';
      /** Its file system can share blocks between files. */
      readonly canReflink: boolean;
      /** Of a qcow2 image that is an overlay itself; as it is written in it. */
      readonly backingFile?: string | undefined;
    }
  | {
      readonly kind: 'volume';
      readonly group: string;
      readonly name: string;
      /** Of a thin volume. */
      readonly pool: string | undefined;
    }
  /** Another block device, such as a partition. */
  | { readonly kind: 'device' };

export interface GroupRoom {
  readonly name: string;
  readonly freeBytes: number;
  readonly pools: readonly { readonly name: string; readonly freeBytes: number }[];
}

/** What this host offers for copies of some disks. */
export interface StorageFacts {
  /** By target; what is not there is missing. */
  readonly disks: ReadonlyMap<string, DiskKind>;
  /** Those targets that hold swap space. */
  readonly swaps: ReadonlySet<string>;
  /** Volume groups; empty also where nobody asked for any. */
  readonly groups: readonly GroupRoom[];
  /** Why domUs cannot have overlays here; `undefined`: they can. */
  readonly overlayRefusal: { readonly why: string; readonly hint: string } | undefined;
}

export interface DiskToCopy {
  readonly disk: Disk;
  readonly fromVm: string;
  readonly toVm: string;
  /** It is to become longer. */
  readonly isGrown: boolean;
}

export interface Choice {
  readonly place: StoredDisk;
  readonly format: DiskFormat;
  /** For people: why it is kept so. */
  readonly reason: string;
}

/**
 * Where the copy of a disk goes and how it is kept: beside its source, as is asked for, else as the best that both offer. One
 * that its source does not live without has to be asked for, but for a snapshot.
 *
 * @throws {AppError} `invalid` if it cannot be kept so here, or its source is no disk that can be copied; `exhausted` if there
 *   is no volume group for it
 */
export function chooseStorage(copy: DiskToCopy, wanted: Storage | undefined, facts: StorageFacts): Choice {
  const { target, vdev, script, format } = copy.disk;
  if (script !== undefined || (format !== 'raw' && format !== 'qcow2')) {
    throw refused(
      copy,
      `is no raw image: ${script ?? format}`,
      'copies are made of raw and qcow2 images and of volumes',
    );
  }
  const found = facts.disks.get(target);
  if (found === undefined) throw new AppError('not_found', `There is no disk ${target}`, { disk: target });
  if (found.kind === 'device') {
    throw refused(copy, `is ${target}, neither an image file nor a logical volume`, 'give the VM an image file');
  }
  if (found.kind === 'file')
    return wanted?.startsWith('lvm') ? intoGroup(copy, wanted, facts) : asFile(copy, wanted, found, facts);
  if (format !== 'raw') throw refused(copy, `is a ${format} image on a volume`, `copy it into a file: ${vdev}`);
  return asVolume(copy, wanted, found);
}

function asFile(
  copy: DiskToCopy,
  wanted: Storage | undefined,
  { canReflink, backingFile }: Extract<DiskKind, { kind: 'file' }>,
  { overlayRefusal }: StorageFacts,
): Choice {
  const { disk, fromVm, toVm } = copy;
  const path = besideFile(disk.target, fromVm, toVm);
  const format = disk.format === 'qcow2' ? 'qcow2' : 'raw';
  const folder = disk.target.slice(0, disk.target.lastIndexOf('/')) || '/';
  if (wanted === 'qcow2') {
    if (overlayRefusal !== undefined)
      throw refused(copy, `cannot have an overlay: ${overlayRefusal.why}`, overlayRefusal.hint);
    const reason = `as asked; ${fromVm} is neither started, written nor deleted while it is there`;
    return { place: { path, storage: 'qcow2', origin: disk.target }, format: 'qcow2', reason };
  }
  if (wanted === 'reflink' && !canReflink) {
    const hint = 'xfs and btrfs can; --storage copy, or leave it out';
    throw refused(copy, `cannot be a reflink: the file system of ${folder} cannot share blocks`, hint);
  }
  if (backingFile !== undefined && !backingFile.startsWith('/')) {
    const hint = 'qemu-img rebase -u names it by an absolute path';
    throw refused(copy, `is an overlay of ${backingFile}, which is no absolute path`, hint);
  }
  const storage = wanted === 'copy' || !canReflink ? 'copy' : 'reflink';
  const can = canReflink ? 'can share blocks' : 'cannot share blocks';
  const place: StoredDisk = { path, storage, ...(backingFile !== undefined && { origin: backingFile }) };
  return { place, format, reason: wanted ? 'as asked' : `the file system of ${folder} ${can}` };
}

function asVolume(
  copy: DiskToCopy,
  wanted: Storage | undefined,
  { group, name, pool }: Extract<DiskKind, { kind: 'volume' }>,
): Choice {
  const { disk, fromVm, toVm, isGrown } = copy;
  const path = `/dev/${group}/${volumeName(name, fromVm, toVm)}`;
  const place = (storage: KeptAs, reason: string): Choice => ({
    place: {
      ...{ path, storage },
      ...(storage === 'lvm-snapshot' && { origin: disk.target }),
      ...(storage === 'lvm-thin' && { pool: `${group}/${pool ?? ''}` }),
    },
    format: 'raw',
    reason,
  });
  switch (wanted) {
    case 'reflink':
    case 'qcow2':
      throw refused(
        copy,
        `cannot be kept as ${wanted}: it is a logical volume`,
        '--storage lvm-snapshot, or leave it out',
      );
    case 'copy':
      return place('lvm', 'as asked: a logical volume of its own');
    case 'lvm-thin':
      if (pool !== undefined) return place('lvm-thin', 'as asked');
      throw refused(copy, `cannot be kept as lvm-thin: ${group}/${name} is in no thin pool`, '--storage lvm-snapshot');
    case 'lvm-snapshot':
      if (pool !== undefined) return place('lvm-thin', `a thin snapshot: ${group}/${name} is in the thin pool ${pool}`);
      if (!isGrown) return place('lvm-snapshot', 'as asked');
      throw refused(copy, 'cannot be a snapshot and grow: it is as long as its origin', '--storage copy');
    case undefined:
      if (pool !== undefined) return place('lvm-thin', `${group}/${name} is in the thin pool ${pool}`);
      if (isGrown) return place('lvm', 'a snapshot cannot grow');
      return place('lvm-snapshot', `${group}/${name} is a logical volume`);
  }
}

/** A file becomes a volume: where there is most room. */
function intoGroup(copy: DiskToCopy, wanted: string, { groups }: StorageFacts): Choice {
  const { disk, fromVm, toVm } = copy;
  if (disk.format !== 'raw')
    throw refused(copy, `is a ${disk.format} image: volumes are made of raw ones`, 'leave --storage out');
  const file = disk.target.slice(disk.target.lastIndexOf('/') + 1).replace(/\.[^.]*$/, '');
  const name = volumeName(file, fromVm, toVm);
  if (wanted === 'lvm-snapshot') {
    const [group] = groups.toSorted((a, b) => b.freeBytes - a.freeBytes);
    if (group === undefined) throw noGroup(`The disk ${disk.vdev}`, 'no volume group', 'vgcreate', disk.target);
    const reason = `${disk.target} is a file: it gets a logical volume of its own`;
    return { place: { path: `/dev/${group.name}/${name}`, storage: 'lvm' }, format: 'raw', reason };
  }
  const { group, pool } = roomiestPool(groups, `The disk ${disk.vdev}`, disk.target);
  const place = { path: `/dev/${group}/${name}`, storage: 'lvm-thin', pool: `${group}/${pool}` } as const;
  return { place, format: 'raw', reason: `${disk.target} is a file: it gets a thin volume of its own` };
}

/**
 * @param what is to be kept in it, for the message
 * @throws {AppError} `exhausted` if there is none
 */
export function roomiestPool(
  groups: readonly GroupRoom[],
  what: string,
  disk?: string,
): { readonly group: string; readonly pool: string } {
  const pools = groups.flatMap((group) => group.pools.map((pool) => ({ group: group.name, ...pool })));
  const [found] = pools.sort((a, b) => b.freeBytes - a.freeBytes);
  if (found === undefined) throw noGroup(what, 'no thin pool', 'lvcreate --type thin-pool', disk);
  return { group: found.group, pool: found.name };
}

/**
 * Where a disk goes that shares nothing with any: in the store of another of its VM.
 *
 * @param what it is, for its name
 */
export function placeBeside({ path, pool }: StoredDisk, vm: string, what: string): StoredDisk {
  const folder = path.slice(0, path.lastIndexOf('/'));
  if (!path.startsWith('/dev/')) {
    const name = folder.endsWith(`/${vm}`) ? what : `${vm}-${what}`;
    return { path: `${folder}/${name}.img`, storage: 'copy' };
  }
  const volume = `${folder}/${volumeName(what, what, `${vm}-${what}`)}`;
  return pool === undefined ? { path: volume, storage: 'lvm' } : { path: volume, storage: 'lvm-thin', pool };
}

/** The same place, for what shares nothing. */
export function ownPlace({ path, pool }: StoredDisk): StoredDisk {
  if (!path.startsWith('/dev/')) return { path, storage: 'copy' };
  return pool === undefined ? { path, storage: 'lvm' } : { path, storage: 'lvm-thin', pool };
}

/** `/srv/domU/disk.img` becomes `/srv/web-1/disk.img`, `/srv/domU.img` `/srv/web-1.img`, others `/srv/web-1-disk.img`. */
function besideFile(target: string, from: string, to: string): string {
  const parts = target.split('/');
  const file = parts.pop() ?? '';
  if (parts.at(-1) === from) return [...parts.slice(0, -1), to, file].join('/');
  return [...parts, renamed(file, from, to)].join('/');
}

function volumeName(name: string, from: string, to: string): string {
  return lvmName(renamed(name, from, to));
}

/** As lvm(8) takes names: letters, digits and `_ . + -`, which is less than Xen takes. */
export function lvmName(name: string): string {
  return name.replace(/[^A-Za-z0-9_.+-]/g, '_');
}

function renamed(name: string, from: string, to: string): string {
  return name.includes(from) ? name.replace(from, () => to) : `${to}-${name}`;
}

function noGroup(what: string, lacks: string, how: string, disk: string | undefined): AppError {
  return new AppError('exhausted', `${what} cannot be kept in LVM: the host has ${lacks}`, {
    ...(disk !== undefined && { disk }),
    hint: `make one on the host (${how}), or leave --storage out`,
  });
}

function refused({ disk: { target, vdev } }: DiskToCopy, why: string, hint: string): AppError {
  const details: ErrorDetails = { disk: target, hint };
  return invalid(`The disk ${vdev} ${why}`, details);
}
