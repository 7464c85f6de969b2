/** As much of a disk's beginning as {@link diskContent} looks at, in bytes. */
export const DISK_HEAD_BYTES = 0x10080;

export type DiskContent =
  | {
      readonly kind: 'ext';
      /** Its own notes say that it was unmounted, without an error or a journal to replay. */
      readonly isClean: boolean;
      /** 32 hex digits: a file system that is made anew has another. */
      readonly uuid: string;
      /** Of all its blocks. */
      readonly sizeBytes: number;
    }
  /** A whole disk with partitions; which ones, tells `parsePartitionTable`. */
  | { readonly kind: 'table'; readonly what: string; readonly hint: string }
  /** `what` follows "it holds"; `hint` tells what to do. */
  | { readonly kind: 'other'; readonly what: string; readonly hint: string };

interface Signature {
  readonly at: number;
  /** One character a byte. */
  readonly bytes: string;
  readonly what: string;
  readonly hint: string;
}

const PARTITION_IMAGE = 'domherd edits a disk that is one ext2, ext3 or ext4 file system, as in the cfg of xen-tools';
const BY_HAND = `set the address inside the guest, or give it DHCP; ${PARTITION_IMAGE}`;
const CONVERT = `qemu-img convert -O raw makes a raw disk of it; ${PARTITION_IMAGE}`;
const OPEN_IT = `what is encrypted cannot be written from outside: set the address inside the guest`;
const OF_LVM = `give the VM one disk a logical volume (phy:/dev/VG/LV,xvda2,w); ${PARTITION_IMAGE}`;
const OF_TABLE = `look at its partitions with sfdisk -l, on the host; ${PARTITION_IMAGE}`;

/** In the order they are looked for: a whole disk's boot code comes last, since other things hold its mark too. */
const SIGNATURES: readonly Signature[] = [
  { at: 0, bytes: 'LUKS\xba\xbe', what: 'an encrypted disk (LUKS)', hint: OPEN_IT },
  ...[0, 512, 1024, 1536].map((at) => ({
    at,
    bytes: 'LABELONE',
    what: 'LVM inside (a physical volume)',
    hint: OF_LVM,
  })),
  { at: 0, bytes: 'QFI\xfb', what: 'a qcow2 image', hint: CONVERT },
  { at: 0, bytes: 'conectix', what: 'a VHD image', hint: CONVERT },
  { at: 0, bytes: 'QED\0', what: 'a QED image', hint: CONVERT },
  { at: 0, bytes: 'KDMV', what: 'a VMDK image', hint: CONVERT },
  { at: 0, bytes: 'XFSB', what: 'an XFS file system', hint: BY_HAND },
  { at: 0, bytes: 'hsqs', what: 'a squashfs file system', hint: BY_HAND },
  { at: 3, bytes: 'NTFS    ', what: 'an NTFS file system', hint: BY_HAND },
  { at: 0x10040, bytes: '_BHRfS_M', what: 'a btrfs file system', hint: BY_HAND },
  { at: 0x10034, bytes: 'ReIsEr', what: 'a reiserfs file system', hint: BY_HAND },
  { at: 0x400, bytes: '\x10\x20\xf5\xf2', what: 'an F2FS file system', hint: BY_HAND },
  { at: 0x8001, bytes: 'CD001', what: 'a CD image', hint: BY_HAND },
  { at: 4086, bytes: 'SWAPSPACE2', what: 'swap space', hint: 'look at root= and disk= of the cfg' },
  { at: 512, bytes: 'EFI PART', what: 'a whole disk with a partition table (GPT)', hint: OF_TABLE },
  { at: 510, bytes: '\x55\xaa', what: 'a whole disk with a partition table', hint: OF_TABLE },
];

/** Of the superblock; places from the beginning of the disk. */
const EXT = {
  blocksAt: 0x404,
  blockSizeAt: 0x418,
  blocksHighAt: 0x550,
  magicAt: 0x438,
  stateAt: 0x43a,
  incompatAt: 0x460,
  roCompatAt: 0x464,
  uuidAt: 0x468,
  orphanAt: 0x4e8,
};
const UUID_BYTES = 16;
const INCOMPAT = { needsRecovery: 0x4, journalDevice: 0x8, has64Bit: 0x80 };
const RO_COMPAT = { orphanPresent: 0x10000 };

/** What a disk is, by the marks in its first {@link DISK_HEAD_BYTES}; a shorter disk is given whole. */
export function diskContent(head: Uint8Array): DiskContent {
  const luks = SIGNATURES.find((signature) => signature.what.includes('LUKS') && hasBytes(head, signature));
  if (luks !== undefined) return { kind: 'other', what: luks.what, hint: luks.hint };
  // A mark of something else may be left from before mkfs; the other way round mkfs takes it away.
  if (hasBytes(head, { at: EXT.magicAt, bytes: '\x53\xef' })) return extContent(head);
  const found = SIGNATURES.find((signature) => hasBytes(head, signature));
  if (found?.hint === OF_TABLE) return { kind: 'table', what: found.what, hint: found.hint };
  if (found !== undefined) return { kind: 'other', what: found.what, hint: found.hint };
  const isBlank = head.every((byte) => byte === 0);
  return { kind: 'other', what: isBlank ? 'nothing' : 'no file system that domherd knows', hint: BY_HAND };
}

function extContent(head: Uint8Array): DiskContent {
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  const field = (at: number): number => (at + 4 <= head.length ? view.getUint32(at, true) : 0);
  const incompat = field(EXT.incompatAt);
  if ((incompat & INCOMPAT.journalDevice) !== 0) {
    return {
      kind: 'other',
      what: 'the journal of another ext file system',
      hint: 'look at root= and disk= of the cfg',
    };
  }
  // Bit 0: unmounted; bit 1: an error was found.
  const isUnmounted = (field(EXT.stateAt) & 3) === 1;
  const hasOrphans = field(EXT.orphanAt) !== 0 || (field(EXT.roCompatAt) & RO_COMPAT.orphanPresent) !== 0;
  const high = (incompat & INCOMPAT.has64Bit) === 0 ? 0 : field(EXT.blocksHighAt);
  const blocks = high * 2 ** 32 + field(EXT.blocksAt);
  const uuid = [...head.subarray(EXT.uuidAt, EXT.uuidAt + UUID_BYTES)];
  return {
    kind: 'ext',
    isClean: isUnmounted && !hasOrphans && (incompat & INCOMPAT.needsRecovery) === 0,
    uuid: uuid.map((byte) => byte.toString(16).padStart(2, '0')).join(''),
    sizeBytes: blocks * 1_024 * 2 ** Math.min(field(EXT.blockSizeAt), 6),
  };
}

function hasBytes(head: Uint8Array, { at, bytes }: { readonly at: number; readonly bytes: string }): boolean {
  return [...bytes].every((character, n) => head[at + n] === character.charCodeAt(0));
}
