import { type AppError, invalid } from '../errors.js';

/** As much of an image's beginning as is looked at, in bytes. */
export const IMAGE_HEAD_BYTES = 0x10080;

/** How the bytes of an image are packed, told by its first ones: a name says nothing. */
export type ImageFormat = 'raw' | 'gzip' | 'zstd' | 'qcow2';

/** What the bytes of an unpacked image are. */
export type ImageContent =
  /** One file system, a partition's worth. */
  | { readonly kind: 'file system'; readonly type: 'ext' | 'xfs' | 'btrfs' }
  /** A whole disk, with a table of partitions. */
  | { readonly kind: 'disk' };

interface Mark {
  readonly at: number;
  /** One character a byte. */
  readonly bytes: string;
}

const PACKED: readonly (Mark & { readonly format: ImageFormat })[] = [
  { at: 0, bytes: '\x1f\x8b', format: 'gzip' },
  { at: 0, bytes: '\x28\xb5\x2f\xfd', format: 'zstd' },
  { at: 0, bytes: 'QFI\xfb', format: 'qcow2' },
];

const CONVERT = 'qemu-img convert -O qcow2 makes an image that is taken';
const ROOTFS = 'make a file system of it: mke2fs -t ext4 -d FOLDER root.img 2G';

const REFUSED: readonly (Mark & { readonly what: string; readonly hint: string })[] = [
  { at: 0, bytes: '\xfd7zXZ\0', what: 'packed with xz', hint: 'unxz it first; raw, gzip, zstd and qcow2 are taken' },
  { at: 0, bytes: 'BZh', what: 'packed with bzip2', hint: 'bunzip2 it first; raw, gzip, zstd and qcow2 are taken' },
  { at: 0, bytes: 'PK\x03\x04', what: 'a ZIP archive', hint: 'unzip it first; raw, gzip, zstd and qcow2 are taken' },
  { at: 257, bytes: 'ustar', what: 'a tar archive, not an image', hint: ROOTFS },
  { at: 0, bytes: 'KDMV', what: 'a VMDK image', hint: CONVERT },
  { at: 0, bytes: 'conectix', what: 'a VHD image', hint: CONVERT },
  { at: 0, bytes: 'vhdxfile', what: 'a VHDX image', hint: CONVERT },
  { at: 0, bytes: 'QED\0', what: 'a QED image', hint: CONVERT },
  { at: 64, bytes: '\x7f\x10\xda\xbe', what: 'a VDI image', hint: CONVERT },
  { at: 0, bytes: 'LUKS\xba\xbe', what: 'encrypted (LUKS)', hint: 'give an image that a guest can boot by itself' },
  { at: 0, bytes: 'hsqs', what: 'a squashfs file system', hint: ROOTFS },
  { at: 4086, bytes: 'SWAPSPACE2', what: 'swap space', hint: 'give the image of the root file system' },
];

const CONTENT: readonly (Mark & { readonly content: ImageContent })[] = [
  { at: 0x438, bytes: '\x53\xef', content: { kind: 'file system', type: 'ext' } },
  { at: 0, bytes: 'XFSB', content: { kind: 'file system', type: 'xfs' } },
  { at: 0x10040, bytes: '_BHRfS_M', content: { kind: 'file system', type: 'btrfs' } },
];

/**
 * @param head the first {@link IMAGE_HEAD_BYTES}, or all of a shorter image
 * @throws {AppError} `invalid` for what is packed in a way that is not taken
 */
export function imageFormat(head: Uint8Array): ImageFormat {
  const packed = PACKED.find((mark) => hasMark(head, mark));
  if (packed !== undefined) return packed.format;
  const refused = REFUSED.find((mark) => hasMark(head, mark));
  // tar's mark is at a place that is a boot loader's code in a whole disk.
  if (refused !== undefined && contentOf(head) === undefined) throw refuse(refused.what, refused.hint);
  return 'raw';
}

/**
 * @param head of the unpacked image
 * @throws {AppError} `invalid` for what no domU could have as its root
 */
export function imageContent(head: Uint8Array): ImageContent {
  // Such an image may have a table of partitions besides.
  if (hasMark(head, { at: 0x8001, bytes: 'CD001' })) {
    throw refuse('a CD, to install from', 'give the image of an installed system; cloud images are made for this');
  }
  const content = contentOf(head);
  if (content !== undefined) return content;
  const what = head.every((byte) => byte === 0) ? 'empty' : 'neither a file system nor a disk that domherd knows';
  throw refuse(what, 'give an ext4, XFS or btrfs file system, or a whole disk with a partition table');
}

function contentOf(head: Uint8Array): ImageContent | undefined {
  const fileSystem = CONTENT.find((mark) => hasMark(head, mark));
  if (fileSystem !== undefined) return fileSystem.content;
  return hasMark(head, { at: 512, bytes: 'EFI PART' }) || hasPartitions(head) ? { kind: 'disk' } : undefined;
}

/** A boot sector of a file system ends in the same mark, and has no entries. */
function hasPartitions(head: Uint8Array): boolean {
  if (!hasMark(head, { at: 510, bytes: '\x55\xaa' })) return false;
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  const entries = [446, 462, 478, 494].map((at) => ({
    isStatus: (view.getUint8(at) & 0x7f) === 0,
    type: view.getUint8(at + 4),
    first: view.getUint32(at + 8, true),
    sectors: view.getUint32(at + 12, true),
  }));
  return (
    entries.every(({ isStatus }) => isStatus) &&
    entries.some(({ type, first, sectors }) => type !== 0 && first !== 0 && sectors !== 0)
  );
}

/**
 * A qcow2 may name other files of the machine that opens it: such an image would carry a host's file into a guest.
 *
 * @throws {AppError} `invalid` if it does, or is damaged
 */
export function refuseLinkedQcow2(head: Uint8Array): void {
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  if (head.length < 80) throw refuse('a damaged qcow2: it ends in its header', 'make it anew');
  const hint = 'qemu-img convert -O qcow2 makes one image of it';
  if (view.getBigUint64(8) !== 0n) throw refuse('a qcow2 with a backing file', hint);
  const version = view.getUint32(4);
  if (version < 2 || version > 3) throw refuse(`a qcow2 of version ${version}`, hint);
  // Bit 2 of the incompatible features: its data is in another file.
  if (version === 3 && (view.getBigUint64(72) & 4n) !== 0n) throw refuse('a qcow2 with a data file of its own', hint);
}

function refuse(what: string, hint: string): AppError {
  return invalid(`The image is ${what}`, { hint });
}

function hasMark(head: Uint8Array, { at, bytes }: Mark): boolean {
  return [...bytes].every((character, n) => head[at + n] === character.charCodeAt(0));
}
