import {
  Bootloader as WireBootloader,
  Storage as WireStorage,
  type BootMethod as WireBoot,
  type VmShape as WireShape,
} from '../gen/domherd/v1/vm.js';
import { invalid } from '../errors.js';
import { parseBridgeName } from '../domain/name.js';
import { formatSshPublicKey, parseSshPublicKey } from '../domain/ssh-public-key.js';
import { MAX_DISK_MIB, MAX_EXTRA_VIFS, type BootMethod, type Storage, type VmShape } from '../domain/vm-shape.js';

const STORAGE: Readonly<Record<Storage, WireStorage>> = {
  copy: WireStorage.COPY,
  reflink: WireStorage.REFLINK,
  'lvm-snapshot': WireStorage.LVM_SNAPSHOT,
  'lvm-thin': WireStorage.LVM_THIN,
  qcow2: WireStorage.QCOW2,
};

const MAX_KEYS = 256;
const MAX_KEY_BYTES = 16_384;
const MAX_EXTRA_DISKS = 8;
const MAX_USER_DATA_BYTES = 1_048_576;

export function shapeToWire(shape: VmShape): WireShape {
  const { memoryMib = 0, vcpus = 0, diskMib = 0, swapMib = 0, storage, userData = '', boot } = shape;
  const { authorizedKeys = [], extraVifs = [], extraDisksMib = [] } = shape;
  return {
    memoryMib,
    vcpus,
    diskMib,
    swapMib,
    storage: storageToWire(storage),
    authorizedKeys: [...authorizedKeys],
    userData,
    extraVifs: [...extraVifs],
    extraDisksMib: [...extraDisksMib],
    boot: boot && bootToWire(boot),
  };
}

/** @throws {AppError} `invalid` naming the field */
export function shapeFromWire(wire: WireShape | undefined): VmShape {
  if (!wire) return {};
  return {
    memoryMib: sizeFrom(wire.memoryMib, 'memory_mib', 16, 1_048_576),
    vcpus: sizeFrom(wire.vcpus, 'vcpus', 1, 512),
    diskMib: sizeFrom(wire.diskMib, 'disk_mib', 1, MAX_DISK_MIB),
    swapMib: sizeFrom(wire.swapMib, 'swap_mib', 1, MAX_DISK_MIB),
    storage: storageFrom(wire.storage),
    authorizedKeys: keysFrom(wire.authorizedKeys),
    userData: wire.userData === '' ? undefined : textFrom(wire.userData, 'user_data', MAX_USER_DATA_BYTES),
    extraVifs: textsFrom(wire.extraVifs, 'extra_vifs', MAX_EXTRA_VIFS, 64).map(parseBridgeName),
    extraDisksMib: extraDisksFrom(wire.extraDisksMib),
    boot: wire.boot && bootFrom(wire.boot),
  };
}

function keysFrom(lines: readonly string[]): readonly string[] {
  return textsFrom(lines, 'authorized_keys', MAX_KEYS, MAX_KEY_BYTES).map((line) =>
    formatSshPublicKey(parseSshPublicKey(line)),
  );
}

function extraDisksFrom(sizes: readonly number[]): readonly number[] {
  if (sizes.length > MAX_EXTRA_DISKS) throw invalid(`there are more than ${MAX_EXTRA_DISKS} further disks`);
  return sizes.map((size) => sizeFrom(size, 'extra_disks_mib', 1, MAX_DISK_MIB) ?? 1);
}

function bootToWire(boot: BootMethod): WireBoot {
  if (boot.kind === 'bootloader') {
    const bootloader = boot.bootloader === 'pygrub' ? WireBootloader.PYGRUB : WireBootloader.PVGRUB;
    return { kernel: '', ramdisk: '', cmdline: '', bootloader };
  }
  const { kernel, ramdisk = '', cmdline = '' } = boot;
  return { kernel, ramdisk, cmdline, bootloader: WireBootloader.UNSPECIFIED };
}

function bootFrom({ kernel, ramdisk, cmdline, bootloader }: WireBoot): BootMethod {
  switch (bootloader) {
    case WireBootloader.PYGRUB:
      return { kind: 'bootloader', bootloader: 'pygrub' };
    case WireBootloader.PVGRUB:
      return { kind: 'bootloader', bootloader: 'pvgrub' };
    default:
      return {
        kind: 'direct',
        kernel: pathFrom(kernel, 'boot.kernel'),
        ramdisk: ramdisk === '' ? undefined : pathFrom(ramdisk, 'boot.ramdisk'),
        cmdline: cmdline === '' ? undefined : textFrom(cmdline, 'boot.cmdline', 2_048),
      };
  }
}

function pathFrom(path: string, field: string): string {
  if (path.startsWith('/')) return textFrom(path, field, 1_024);
  throw invalid(`${field} is no absolute path: ${path}`, { field });
}

export function storageToWire(storage: Storage | undefined): WireStorage {
  return storage === undefined ? WireStorage.UNSPECIFIED : STORAGE[storage];
}

/** @throws {AppError} `invalid` */
export function storageFrom(wire: WireStorage): Storage | undefined {
  if (wire === WireStorage.UNSPECIFIED) return undefined;
  const known = Object.entries(STORAGE).find(([, value]) => value === wire);
  if (known) return known[0] as Storage;
  throw invalid('the storage is none that is known', { field: 'storage' });
}

/** `undefined` for 0. */
function sizeFrom(size: number, field: string, min: number, max: number): number | undefined {
  if (size === 0) return undefined;
  if (size >= min && size <= max) return size;
  throw invalid(`${field} is ${size}, not ${min} to ${max}`, { field });
}

function textsFrom(texts: readonly string[], field: string, max: number, maxBytes: number): readonly string[] {
  if (texts.length > max) throw invalid(`${field} has more than ${max} entries`, { field });
  return texts.map((text, n) => textFrom(text, `${field}[${n}]`, maxBytes));
}

function textFrom(text: string, field: string, maxBytes: number): string {
  if (Buffer.byteLength(text) <= maxBytes && !text.includes('\0')) return text;
  throw invalid(`${field} has more than ${maxBytes} bytes, or a NUL`, { field });
}
