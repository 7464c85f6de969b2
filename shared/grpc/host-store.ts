import { StoreKind as WireKind, type HostStore as WireStore } from '../gen/domherd/v1/disk.js';
import type { HostStore, StoreKind } from '../domain/host-store.js';

const KIND: Readonly<Record<StoreKind, WireKind>> = {
  'file-system': WireKind.FILE_SYSTEM,
  'volume-group': WireKind.VOLUME_GROUP,
  'thin-pool': WireKind.THIN_POOL,
};

export function storeToWire({ kind, sizeBytes, freeBytes, isRecorded, disks, ...store }: HostStore): WireStore {
  const { name, type, metadataPercent, sharesBlocks, recordedReason } = store;
  return {
    ...{ kind: KIND[kind], name, type, sizeBytes: BigInt(sizeBytes), freeBytes: BigInt(Math.max(freeBytes, 0)) },
    ...{ metadataPercent, sharesBlocks, recorded: isRecorded, recordedReason },
    disks: disks.map((disk) => ({
      ...{ vmKey: disk.vmKey, path: disk.path },
      ...{ sizeBytes: BigInt(disk.sizeBytes), usedBytes: BigInt(disk.usedBytes) },
    })),
  };
}

/** `undefined` for a kind that a newer host may have. */
export function storeFromWire({ kind, recorded, disks, ...wire }: WireStore): HostStore | undefined {
  const known = Object.entries(KIND).find(([, value]) => value === kind);
  if (!known) return undefined;
  const { name, type, metadataPercent, sharesBlocks, recordedReason } = wire;
  return {
    ...{ kind: known[0] as StoreKind, name, type, metadataPercent, sharesBlocks, isRecorded: recorded, recordedReason },
    ...{ sizeBytes: Number(wire.sizeBytes), freeBytes: Number(wire.freeBytes) },
    disks: disks.map(({ vmKey, path, sizeBytes, usedBytes }) => ({
      ...{ vmKey, path, sizeBytes: Number(sizeBytes), usedBytes: Number(usedBytes) },
    })),
  };
}
