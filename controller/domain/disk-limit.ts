import type { HostStore, StoredVmDisk } from '../../shared/domain/host-store.js';
import type { VmShape } from '../../shared/domain/vm-shape.js';
import type { HostLimit } from './placement.js';

const MIB = 1024 * 1024;
/** As the agents count: what shares blocks needs this to begin with, and a file system keeps that. */
const SHARED_BYTES = 64 * MIB;
const RESERVE_BYTES = 256 * MIB;

interface Need {
  readonly store: HostStore;
  readonly bytes: number;
}

/**
 * How many copies of a VM the stores of its host have room for; the agent refuses what does not fit all the same.
 *
 * @param vmKey of the VM that is copied
 * @returns `undefined` if nothing is known of its disks
 */
export function diskLimit(stores: readonly HostStore[], vmKey: string, shape: VmShape): HostLimit | undefined {
  const needs = stores.flatMap((store) =>
    store.disks.filter((disk) => disk.vmKey === vmKey).map((disk) => needOf(disk, store, shape.storage, stores)),
  );
  const [first] = needs;
  if (first === undefined) return undefined;
  const addedMib = (shape.swapMib ?? 0) + (shape.extraDisksMib ?? []).reduce((sum, mib) => sum + mib, 0);
  const byStore = new Map<HostStore, number>([[first.store, addedMib * MIB]]);
  for (const { store, bytes } of needs) byStore.set(store, (byStore.get(store) ?? 0) + bytes);
  const limits = [...byStore].filter(([, bytes]) => bytes > 0).map(([store, bytes]) => limitOf(store, bytes));
  return limits.sort((a, b) => a.fits - b.fits)[0];
}

function limitOf(store: HostStore, bytes: number): HostLimit {
  const free = Math.max(0, store.freeBytes - (store.kind === 'file-system' ? RESERVE_BYTES : 0));
  const detail = `${mib(free)} MiB free for disks in ${store.name}, ${Math.ceil(bytes / MIB)} each`;
  return { kind: 'disk', fits: Math.floor(free / bytes), detail };
}

/** What the copy of one disk takes, and where. */
function needOf(
  { sizeBytes, usedBytes }: StoredVmDisk,
  store: HostStore,
  storage: VmShape['storage'],
  stores: readonly HostStore[],
): Need {
  const isFile = store.kind === 'file-system';
  if (isFile && storage === 'lvm-snapshot')
    return { store: roomiest(stores, 'volume-group') ?? store, bytes: sizeBytes };
  if (isFile && storage === 'lvm-thin') return { store: roomiest(stores, 'thin-pool') ?? store, bytes: usedBytes };
  if (isFile) {
    const isShared = storage === 'qcow2' || storage === 'reflink' || (storage === undefined && store.sharesBlocks);
    return { store, bytes: isShared ? SHARED_BYTES : usedBytes };
  }
  if (store.kind === 'thin-pool' && storage !== 'copy') return { store, bytes: SHARED_BYTES };
  const group = stores.find(({ kind, name }) => kind === 'volume-group' && name === store.name.split('/')[0]);
  return { store: group ?? store, bytes: sizeBytes };
}

function roomiest(stores: readonly HostStore[], kind: HostStore['kind']): HostStore | undefined {
  return stores.filter((store) => store.kind === kind).sort((a, b) => b.freeBytes - a.freeBytes)[0];
}

function mib(bytes: number): number {
  return Math.floor(bytes / MIB);
}
