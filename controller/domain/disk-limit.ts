import { RESERVE_BYTES, SHARED_BYTES, snapshotBytes } from '../../shared/domain/disk-room.js';
import type { HostStore, StoredVmDisk } from '../../shared/domain/host-store.js';
import type { VmShape } from '../../shared/domain/vm-shape.js';
import type { HostLimit } from './placement.js';

const MIB = 1024 * 1024;
/** Where the agents keep disks on a host that has no VM yet. */
const DEFAULT_FOLDER = '/opt/xen/domains';

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
  const disks = stores.flatMap((store) =>
    store.disks.filter((disk) => disk.vmKey === vmKey).map((disk) => ({ store, disk })),
  );
  const largest = Math.max(...disks.map(({ disk }) => disk.sizeBytes));
  const needs = disks.map(({ store, disk }) =>
    needOf(disk, store, disk.sizeBytes === largest ? shape : { ...shape, diskMib: undefined }, stores),
  );
  const [first] = needs;
  if (first === undefined) return undefined;
  const byStore = new Map<HostStore, number>([[first.store, addedBytes(shape)]]);
  for (const { store, bytes } of needs) byStore.set(store, (byStore.get(store) ?? 0) + bytes);
  const limits = [...byStore].filter(([, bytes]) => bytes > 0).map(([store, bytes]) => limitOf(store, bytes));
  return limits.sort((a, b) => a.fits - b.fits)[0];
}

/**
 * How many VMs that are copies of no other the stores of a host have room for.
 *
 * @param leastBytes what the root of each takes at least
 * @param mount point of the file system that their files go to; `undefined`: where the host has its disks
 * @returns `undefined` if nothing is known of where they would be
 */
export function madeDiskLimit(
  stores: readonly HostStore[],
  shape: VmShape,
  leastBytes: number,
  mount?: string,
): HostLimit | undefined {
  const isThin = shape.storage === 'lvm-thin';
  const store = isThin ? roomiest(stores, 'thin-pool') : storeOfFiles(stores, mount);
  if (store === undefined) return undefined;
  // Empty disks take next to nothing of a pool.
  if (isThin) return limitOf(store, SHARED_BYTES + leastBytes);
  const rootBytes = shape.storage === 'reflink' ? Math.min(leastBytes, SHARED_BYTES) : leastBytes;
  return limitOf(store, Math.max(1, rootBytes + addedBytes(shape)));
}

/** The one with most disks of VMs; without any, the one of the default folder. */
function storeOfFiles(stores: readonly HostStore[], mount: string | undefined): HostStore | undefined {
  const files = stores.filter(({ kind }) => kind === 'file-system');
  if (mount !== undefined) return files.find(({ name }) => name === mount);
  const [most] = files.toSorted((a, b) => b.disks.length - a.disks.length);
  if (most && most.disks.length > 0) return most;
  return files
    .filter(({ name }) => name === '/' || `${DEFAULT_FOLDER}/`.startsWith(`${name}/`))
    .toSorted((a, b) => b.name.length - a.name.length)[0];
}

function addedBytes({ swapMib = 0, extraDisksMib = [] }: VmShape): number {
  return extraDisksMib.reduce((sum, each) => sum + each, swapMib) * MIB;
}

function limitOf(store: HostStore, bytes: number): HostLimit {
  const free = Math.max(0, store.freeBytes - (store.kind === 'file-system' ? RESERVE_BYTES : 0));
  const detail = `${mib(free)} MiB free for disks in ${store.name}, ${Math.ceil(bytes / MIB)} each`;
  return { kind: 'disk', fits: Math.floor(free / bytes), detail };
}

/** What the copy of one disk takes, and where. A file that grows gets holes. */
function needOf(
  { sizeBytes: sourceBytes, usedBytes }: StoredVmDisk,
  store: HostStore,
  { storage, diskMib = 0 }: VmShape,
  stores: readonly HostStore[],
): Need {
  const isFile = store.kind === 'file-system';
  const sizeBytes = Math.max(sourceBytes, diskMib * MIB);
  if (isFile && storage === 'lvm-snapshot')
    return { store: roomiest(stores, 'volume-group') ?? store, bytes: sizeBytes };
  if (isFile && storage === 'lvm-thin')
    return { store: roomiest(stores, 'thin-pool') ?? store, bytes: SHARED_BYTES + usedBytes };
  if (isFile) {
    const isShared = storage === 'qcow2' || storage === 'reflink' || (storage === undefined && store.sharesBlocks);
    return { store, bytes: isShared ? SHARED_BYTES : usedBytes };
  }
  if (store.kind === 'thin-pool' && storage !== 'copy') return { store, bytes: SHARED_BYTES };
  const group = stores.find(({ kind, name }) => kind === 'volume-group' && name === store.name.split('/')[0]);
  const isSnapshot = storage !== 'copy' && sizeBytes === sourceBytes;
  return { store: group ?? store, bytes: isSnapshot ? snapshotBytes(sizeBytes) : sizeBytes };
}

function roomiest(stores: readonly HostStore[], kind: HostStore['kind']): HostStore | undefined {
  return stores.filter((store) => store.kind === kind).sort((a, b) => b.freeBytes - a.freeBytes)[0];
}

function mib(bytes: number): number {
  return Math.floor(bytes / MIB);
}
