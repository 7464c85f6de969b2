import { invalid } from '../../shared/errors.js';
import type { Storage } from '../../shared/domain/vm-shape.js';
import type { DiskFormat, NewDisk } from './new-disk.js';
import { SEED_VDEV } from './seed/seed-files.js';
import { lvmName, roomiestPool, type StorageFacts } from './storage-choice.js';
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
      return { kind: 'pool', ...roomiestPool(groups, 'The disks') };
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
    const kept = store.kind === 'qcow2' ? asQcow2(disk, pathsIn(edited)) : asThin(disk, found, plan.name, store);
    const format: DiskFormat = kept.place.storage === 'qcow2' ? 'qcow2' : 'raw';
    return {
      ...edited,
      cfg: setDisk(edited.cfg, found, kept.place.path, format),
      disks: edited.disks.map((each) => (each === disk ? kept : each)),
    };
  }, plan);
}

function pathsIn({ cfg, disks }: VmPlan): ReadonlySet<string> {
  return new Set([...listDisks(cfg).map(({ target }) => target), ...disks.map(({ place }) => place.path)]);
}

/** Empty ones are as small as files. */
function asQcow2(disk: NewDisk, taken: ReadonlySet<string>): NewDisk {
  if (disk.source.kind !== 'image' && disk.source.kind !== 'received') return disk;
  const short = `${withoutSuffix(disk.place.path)}.qcow2`;
  // `web.root` and `web.swap` may be in one folder.
  const path = taken.has(short) ? `${disk.place.path}.qcow2` : short;
  return { ...disk, place: { path, storage: 'qcow2' }, reason: 'as asked' };
}

function asThin(
  disk: NewDisk,
  { vdev }: Disk,
  vm: string,
  { group, pool }: Extract<OwnStore, { kind: 'pool' }>,
): NewDisk {
  const place = {
    path: `/dev/${group}/${lvmName(`${vm}-${vdev}`)}`,
    storage: 'lvm-thin',
    pool: `${group}/${pool}`,
  } as const;
  return { ...disk, place, reason: `as asked, in the thin pool ${pool}` };
}

/** `/srv/a/disk.img` is `/srv/a/disk`. */
export function withoutSuffix(path: string): string {
  return path.replace(/\.[^./]*$/, '');
}
