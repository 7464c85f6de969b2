import type { HostStore } from '../../../shared/domain/host-store.js';
import { recordingOf } from '../../domain/host-store.js';
import type { DiskOfVm, HostStores } from '../../ports/host-stores.js';

const GIB = 1024 * 1024 * 1024;
/** Of the image's own disks. */
const DISK_BYTES = GIB / 2;

/** A root that shares blocks, and a /tmp of its own. Never full. */
export class SimStores implements HostStores {
  readStores(disks: readonly DiskOfVm[]): Promise<readonly HostStore[]> {
    const all = disks.map(({ vmKey, path }) => ({ vmKey, path, sizeBytes: DISK_BYTES, usedBytes: 0 }));
    return Promise.resolve([store('/', 600 * GIB, 400 * GIB, all), store('/tmp', 200 * GIB, 200 * GIB, [])]);
  }
}

function store(name: string, sizeBytes: number, freeBytes: number, disks: HostStore['disks']): HostStore {
  return {
    ...{
      kind: 'file-system',
      name,
      type: 'btrfs',
      sizeBytes,
      freeBytes,
      metadataPercent: undefined,
      sharesBlocks: true,
    },
    ...{ ...recordingOf('file-system', name), disks },
  };
}
