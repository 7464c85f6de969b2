import { SHARED_BYTES, snapshotBytes } from '../../shared/domain/disk-room.js';
import type { FilePiece } from '../../shared/domain/transfer.js';
import { STORAGES } from '../../shared/domain/vm-shape.js';

/** How a disk is kept: as a VM's storage says, or as a logical volume of its own. A plain file is `copy` or `reflink`. */
export const KEPT_AS = [...STORAGES, 'lvm'] as const;
export type KeptAs = (typeof KEPT_AS)[number];

/** Never told by the content: a guest writes what it likes into a raw disk. */
export type DiskFormat = 'raw' | 'qcow2';

/** A disk of dom0, as a cfg has it. */
export interface DiskImage {
  /** A file or block device. */
  readonly path: string;
  readonly format: DiskFormat;
}

/** A disk that was made here, or is to be. */
export interface StoredDisk {
  /** Of the file, or `/dev/VG/LV`; the target in the cfg. */
  readonly path: string;
  readonly storage: KeptAs;
  /** What it shares blocks with and does not live without: the backing file of an overlay, the origin of a snapshot. */
  readonly origin?: string | undefined;
  /** Of a thin volume: `VG/POOL`. */
  readonly pool?: string | undefined;
}

/** Where the first bytes of a disk come from. Whoever adds one says in {@link neededBytes} what room it takes. */
export type DiskSource =
  /** Another disk of this host, which nobody writes meanwhile. */
  | { readonly kind: 'copy'; readonly path: string; readonly format: DiskFormat }
  /** An image that is a file of this host; a qcow2 becomes raw. */
  | { readonly kind: 'image'; readonly path: string; readonly format: DiskFormat }
  /** A disk of another host, or of the controller's; what does not come of it is zeros. `path` is what it is called there. */
  | {
      readonly kind: 'received';
      readonly path: string;
      readonly sizeBytes: number;
      readonly usedBytes: number;
      readonly pieces: AsyncIterable<FilePiece>;
    }
  | { readonly kind: 'blank'; readonly bytes: number }
  /** Blank, with what mkswap(8) writes. */
  | { readonly kind: 'swap'; readonly bytes: number };

export interface NewDisk {
  readonly source: DiskSource;
  readonly place: StoredDisk;
  /** For people: why it is kept as it is. */
  readonly reason?: string | undefined;
  /** At least this long, whatever the source is; what is in it is left alone. `undefined`: as the source. */
  readonly sizeBytes?: number | undefined;
}

/** Of a disk that is there. */
export interface DiskSize {
  /** As its guest sees it; of a qcow2 image too. */
  readonly sizeBytes: number;
  /** Taken in its store, holes left out. */
  readonly usedBytes: number;
  /** At most so many of its bytes are not zeros; left out: those that are taken. */
  readonly contentBytes?: number;
  /** Whose blocks it shares: the backing file of a qcow2 image, the origin of a snapshot; left out: nobody's. */
  readonly origin?: string;
}

/**
 * The room that a disk takes where it is put. A file that is copied takes what it has; what is added to it counts whole,
 * though it is a hole at first. Where room is taken as it is written, what is in it at first counts.
 *
 * @param found the disk that the source names; `undefined` for a source that names none
 */
export function neededBytes({ source, place, sizeBytes = 0 }: NewDisk, found: DiskSize | undefined): number {
  const length = 'bytes' in source ? source.bytes : (found?.sizeBytes ?? 0);
  const size = Math.max(sizeBytes, length);
  const content = isSparse(source) ? (found?.usedBytes ?? 0) : length;
  switch (place.storage) {
    case 'lvm':
      return size;
    case 'lvm-snapshot':
      return snapshotBytes(size);
    case 'reflink':
      return SHARED_BYTES;
    case 'lvm-thin':
      return SHARED_BYTES + (isFilled(source) ? content : 0);
    case 'qcow2':
      // A copy is an overlay; what else is in it comes with tables that tell which block is which.
      return SHARED_BYTES + (source.kind === 'copy' ? 0 : Math.ceil(content * 1.01));
    case 'copy':
      return size - length + content;
  }
}

function isSparse(source: DiskSource): boolean {
  return source.kind === 'copy' || source.kind === 'received' || (source.kind === 'image' && source.format === 'raw');
}

/** It shares nothing: a thin volume is a snapshot of one that is in the same pool. */
function isFilled(source: DiskSource): boolean {
  if (source.kind === 'copy') return !source.path.startsWith('/dev/');
  return source.kind === 'image' || source.kind === 'received';
}
