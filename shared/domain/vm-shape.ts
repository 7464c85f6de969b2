/** How the disks of a VM are kept on its host. */
export const STORAGES = ['copy', 'reflink', 'lvm-snapshot', 'lvm-thin', 'qcow2'] as const;
export type Storage = (typeof STORAGES)[number];

/** 64 TiB. */
export const MAX_DISK_MIB = 67_108_864;

/** What xl and the frontends of guests are known to take. */
export const MAX_VIFS = 8;
export const MAX_EXTRA_VIFS = MAX_VIFS - 1;

/** What starts a domU's kernel. */
export const BOOTLOADERS = ['pygrub', 'pvgrub'] as const;
export type Bootloader = (typeof BOOTLOADERS)[number];

/** How a domU boots; paths are files of its dom0. */
export type BootMethod =
  | {
      readonly kind: 'direct';
      readonly kernel: string;
      readonly ramdisk?: string | undefined;
      readonly cmdline?: string | undefined;
    }
  | { readonly kind: 'bootloader'; readonly bootloader: Bootloader };

/** What a VM is to be like; what is not given is as in its source. */
export interface VmShape {
  /** 16 to 1,048,576 MiB. */
  readonly memoryMib?: number | undefined;
  /** 1 to 512. */
  readonly vcpus?: number | undefined;
  /** What its first disk is grown to, MiB. */
  readonly diskMib?: number | undefined;
  /** Of a swap disk of its own, MiB. */
  readonly swapMib?: number | undefined;
  /** `undefined`: the best that the host offers. */
  readonly storage?: Storage | undefined;
  /** Lines of an authorized_keys file, for root. */
  readonly authorizedKeys?: readonly string[] | undefined;
  /** For cloud-init; at most 1 MiB. */
  readonly userData?: string | undefined;
  /** Bridges of further NICs. */
  readonly extraVifs?: readonly string[] | undefined;
  /** Further disks, empty, MiB each. */
  readonly extraDisksMib?: readonly number[] | undefined;
  /** `undefined`: as its source, or as what is in an image tells. */
  readonly boot?: BootMethod | undefined;
}
