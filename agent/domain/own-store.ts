import { AppError, invalid } from '../../shared/errors.js';
import type { Storage } from '../../shared/domain/vm-shape.js';
import type { DiskFormat, NewDisk } from './new-disk.js';
import { SEED_VDEV } from './seed/seed-files.js';
import type { StorageFacts } from './storage-choice.js';
import type { VmPlan } from './vm-plan.js';
import { listDisks, setDisk, type Disk } from './xl-cfg/disk.js';

/** What the disks of a VM are kept in that is the copy of none of this host. */
export type OwnStore =
  | { readonly kind: 'files' }
  | { readonly kind: 'qcow2' }
  /** `VG/POOL` */
  | { readonly kind: 'pool'; readonly group: string; readonly pool: string };

/**
 * @param what such a VM is, for the message
 * @throws {AppError} `invalid` for a storage that is made of a source on this host, or that this host cannot serve; `exhausted`
 *   if there is no thin pool
 */
export function chooseOwnStore(
  wanted: Storage | undefined,
  { groups, overlayRefusal }: Pick<StorageFacts, 'groups' | 'overlayRefusal'>,
  what: string,
): OwnStore {
  switch (wanted) {
    case undefined:
    case 'copy':
      return { kind: 'files' };
    case 'qcow2':
      if (overlayRefusal === undefined) return { kind: 'qcow2' };
      throw invalid(`The disks cannot be qcow2 images: ${overlayRefusal.why}`, { hint: overlayRefusal.hint });
    case 'lvm-thin':
      return roomiestPool(groups);
    case 'lvm-snapshot':
      throw invalid(`There is nothing to snapshot: ${what}`, { hint: '--storage lvm-thin, or leave it out' });
    case 'reflink':
      throw invalid(`There is nothing to share blocks with: ${what}`, { hint: 'leave --storage out' });
  }
}

/** A plan whose disks are plain files, with them in that store. A seed stays a file: it is written anew with each address. */
export function keepIn(store: OwnStore, plan: VmPlan): VmPlan {
  if (store.kind === 'files') return plan;
  return plan.disks.reduce((edited, disk): VmPlan => {
    const found = listDisks(edited.cfg).find(({ target }) => target === disk.place.path);
    if (found === undefined || found.vdev === SEED_VDEV) return edited;
    const kept = store.kind === 'qcow2' ? asQcow2(disk) : asThin(disk, found, plan.name, store);
    const format: DiskFormat = kept.place.storage === 'qcow2' ? 'qcow2' : 'raw';
    return {
      ...edited,
      cfg: setDisk(edited.cfg, found, kept.place.path, format),
      disks: edited.disks.map((each) => (each === disk ? kept : each)),
    };
  }, plan);
}

/** Empty ones are as small as files. */
function asQcow2(disk: NewDisk): NewDisk {
  if (disk.source.kind !== 'image' && disk.source.kind !== 'received') return disk;
  const path = `${withoutSuffix(disk.place.path)}.qcow2`;
  return { ...disk, place: { path, storage: 'qcow2' }, reason: 'as asked' };
}

function asThin(
  disk: NewDisk,
  { vdev }: Disk,
  vm: string,
  { group, pool }: Extract<OwnStore, { kind: 'pool' }>,
): NewDisk {
  // As lvm(8) takes names, which is less than Xen takes.
  const name = `${vm}-${vdev}`.replace(/[^A-Za-z0-9_.+-]/g, '_');
  const place = { path: `/dev/${group}/${name}`, storage: 'lvm-thin', pool: `${group}/${pool}` } as const;
  return { ...disk, place, reason: `as asked, in the thin pool ${pool}` };
}

function roomiestPool(groups: StorageFacts['groups']): OwnStore {
  const pools = groups.flatMap((group) => group.pools.map((pool) => ({ group: group.name, ...pool })));
  const [found] = pools.sort((a, b) => b.freeBytes - a.freeBytes);
  if (found !== undefined) return { kind: 'pool', group: found.group, pool: found.name };
  throw new AppError('exhausted', 'The disks cannot be kept in LVM: the host has no thin pool', {
    hint: 'make one on the host (lvcreate --type thin-pool), or leave --storage out',
  });
}

/** `/srv/a/disk.img` is `/srv/a/disk`. */
export function withoutSuffix(path: string): string {
  return path.replace(/\.[^./]*$/, '');
}
