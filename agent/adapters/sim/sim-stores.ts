import type { HostStore } from '../../../shared/domain/host-store.js';
import { recordingOf } from '../../domain/host-store.js';
import type { DiskOfVm, HostStores } from '../../ports/host-stores.js';

export const SIM_GROUP = 'vg0';
export const SIM_POOL = 'pool';

const GIB = 1024 * 1024 * 1024;
/** Of the image's own disks. */
const DISK_BYTES = GIB / 2;

/** A root that shares blocks, a /tmp of its own, and the thin pool of `SimDiskStore`. Never full. */
export class SimStores implements HostStores {
  readStores(disks: readonly DiskOfVm[]): Promise<readonly HostStore[]> {
    const all = disks.map(({ vmKey, path }) => ({ vmKey, path, sizeBytes: DISK_BYTES, usedBytes: 0 }));
    const inPool = all.filter(({ path }) => path.startsWith(`/dev/${SIM_GROUP}/`));
    const files = all.filter((disk) => !inPool.includes(disk));
    return Promise.resolve([
      store('file-system', '/', 600 * GIB, 400 * GIB, files),
      store('file-system', '/tmp', 200 * GIB, 200 * GIB, []),
      store('volume-group', SIM_GROUP, 900 * GIB, 100 * GIB, []),
      store('thin-pool', `${SIM_GROUP}/${SIM_POOL}`, 800 * GIB, 800 * GIB, inPool),
    ]);
  }
}

function store(
  kind: HostStore['kind'],
  name: string,
  sizeBytes: number,
  freeBytes: number,
  disks: HostStore['disks'],
): HostStore {
  const isFiles = kind === 'file-system';
  return {
    ...{ kind, name, type: isFiles ? 'btrfs' : 'lvm', sizeBytes, freeBytes },
    metadataPercent: kind === 'thin-pool' ? 0 : undefined,
    sharesBlocks: kind !== 'volume-group',
    ...{ ...recordingOf(kind, name), disks },
  };
}
