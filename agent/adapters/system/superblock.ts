// Offsets: ext2/3/4 from the kernel's Documentation/filesystems/ext4/super.rst, XFS from xfs_format.h, btrfs from
// btrfs_tree.h. All are where they have been since these file systems exist.

const EXT_AT = 1024;
const BTRFS_AT = 64 * 1024;

/**
 * What tells one file system from another of the same kind.
 *
 * @param bytes the first ones of the device, 72 KiB or what there is
 * @returns such as `ext:0f6e...:1772438400` with the time it was made, seconds since 1970; `undefined` for another kind
 */
export function parseSuperblock(bytes: Buffer): string | undefined {
  if (bytes.length >= EXT_AT + 1024 && bytes.readUInt16LE(EXT_AT + 0x38) === 0xef53) {
    const madeAtSeconds = bytes.readUInt32LE(EXT_AT + 0x108) + bytes.readUInt8(EXT_AT + 0x276) * 2 ** 32;
    return `ext:${uuidAt(bytes, EXT_AT + 0x68)}:${madeAtSeconds}`;
  }
  if (bytes.toString('latin1', 0, 4) === 'XFSB' && bytes.length >= 48) return `xfs:${uuidAt(bytes, 32)}`;
  if (bytes.toString('latin1', BTRFS_AT + 0x40, BTRFS_AT + 0x48) === '_BHRfS_M') {
    return `btrfs:${uuidAt(bytes, BTRFS_AT + 0x20)}`;
  }
  return undefined;
}

function uuidAt(bytes: Buffer, offset: number): string {
  const hex = bytes.toString('hex', offset, offset + 16);
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}
