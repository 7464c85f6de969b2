const MIB = 1024 * 1024;

/** What a disk that shares blocks takes to begin with: an overlay, a reflink, a thin volume. */
export const SHARED_BYTES = 64 * MIB;

/** Left free in a file system where disks are: a dom0 whose root is full does no good to anybody. */
export const RESERVE_BYTES = 256 * MIB;

/** LVM rounds up to these, unless its group was made with others. */
const EXTENT_BYTES = 4 * MIB;

/** What a snapshot takes: it holds all of its origin, should all of it be written, and which block is which. */
export function snapshotBytes(originBytes: number): number {
  return Math.ceil(originBytes * 1.01) + EXTENT_BYTES;
}
