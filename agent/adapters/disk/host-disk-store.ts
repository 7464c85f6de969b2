import { access } from 'node:fs/promises';
import type { Exec } from '../../../shared/exec.js';
import type { DiskFormat, DiskSize, NewDisk, StoredDisk } from '../../domain/new-disk.js';
import type { DiskKind, StorageFacts } from '../../domain/storage-choice.js';
import type { DiskStore, DiskQuestion, Room } from '../../ports/disk-store.js';
import type { RawViews } from '../../ports/raw-views.js';
import { fileError, unlessMissing, withFile } from './atomic-file.js';
import { deviceBytes } from './block-device.js';
import { FileDiskStore } from './file-disk-store.js';
import type { LvmDiskStore } from './lvm-disk-store.js';

/** What a domU's qcow2 image takes; any of its paths will do. */
const OVERLAY_PROGRAMS = [
  { what: 'qemu-img', package: 'qemu-utils', paths: ['/usr/bin/qemu-img', '/usr/local/bin/qemu-img'] },
  {
    what: 'qemu-storage-daemon, by which its guest is written',
    package: 'qemu-system-common',
    paths: ['/usr/bin/qemu-storage-daemon', '/usr/local/bin/qemu-storage-daemon'],
  },
  {
    what: 'the device model of Xen, which serves it to the domU',
    package: 'qemu-system-xen',
    paths: [
      '/usr/libexec/xen-qemu-system-i386',
      '/usr/lib/xen/bin/qemu-system-i386',
      '/usr/local/lib/xen/bin/qemu-system-i386',
    ],
  },
] as const;

/** The disks of a dom0: files and logical volumes. */
export class HostDiskStore implements DiskStore {
  readonly #exec: Exec;
  readonly #files: FileDiskStore;
  readonly #overlayPrograms: typeof OVERLAY_PROGRAMS | readonly [];
  #volumes: LvmDiskStore | undefined;

  /**
   * @param views by which qcow2 images are filled from other hosts; left out: they are not
   * @param overlayPrograms what a host must have for qcow2; none: images are made, whether they can be served or not
   */
  constructor(exec: Exec, views?: RawViews, overlayPrograms: typeof OVERLAY_PROGRAMS | readonly [] = OVERLAY_PROGRAMS) {
    this.#exec = exec;
    this.#files = new FileDiskStore(exec, views);
    this.#overlayPrograms = overlayPrograms;
  }

  async find(path: string, format?: DiskFormat): Promise<DiskSize | undefined> {
    if (!isVolume(path)) return this.#files.find(path, format);
    const found = await (await this.#lvm()).find(path);
    if (found !== undefined) return found;
    const sizeBytes = await deviceBytes(path);
    return sizeBytes === undefined ? undefined : { sizeBytes, usedBytes: sizeBytes };
  }

  async roomFor(place: StoredDisk): Promise<Room> {
    return isVolume(place.path) ? (await this.#lvm()).roomFor(place) : this.#files.roomFor(place);
  }

  async make(disk: NewDisk, signal: AbortSignal): Promise<void> {
    return isVolume(disk.place.path) ? (await this.#lvm()).make(disk, signal) : this.#files.make(disk, signal);
  }

  async remove(place: StoredDisk): Promise<boolean> {
    return isVolume(place.path) ? (await this.#lvm()).remove(place) : this.#files.remove(place);
  }

  async survey({ disks, wanted }: DiskQuestion): Promise<StorageFacts> {
    const kinds = new Map<string, DiskKind>();
    for (const { path, format } of disks) {
      const kind = await this.#kindOf(path, format);
      if (kind !== undefined) kinds.set(path, kind);
    }
    const swaps = await Promise.all(disks.map(async ({ path }) => ((await holdsSwap(path)) ? [path] : [])));
    return {
      disks: kinds,
      swaps: new Set(swaps.flat()),
      groups: wanted?.startsWith('lvm') ? await (await this.#lvm()).groups() : [],
      overlayRefusal: wanted === 'qcow2' ? await this.#overlayRefusal() : undefined,
    };
  }

  async #kindOf(path: string, format: DiskFormat): Promise<DiskKind | undefined> {
    const volume = isVolume(path) ? await (await this.#lvm()).kindOf(path) : undefined;
    return volume ?? this.#files.kindOf(path, format);
  }

  async #overlayRefusal(): Promise<StorageFacts['overlayRefusal']> {
    for (const { what, package: name, paths } of this.#overlayPrograms) {
      const isThere = await Promise.all(
        paths.map((path) =>
          access(path).then(
            () => true,
            () => false,
          ),
        ),
      );
      if (!isThere.includes(true))
        return { why: `the host lacks ${what}`, hint: `apt-get install ${name}, on the host` };
    }
    return undefined;
  }

  /** Most hosts have none. */
  async #lvm(): Promise<LvmDiskStore> {
    if (this.#volumes === undefined) {
      const { LvmDiskStore } = await import('./lvm-disk-store.js');
      this.#volumes = new LvmDiskStore(this.#exec);
    }
    return this.#volumes;
  }
}

/** As mkswap(8) leaves it, on machines with pages of 4 KiB. */
async function holdsSwap(path: string): Promise<boolean> {
  const magic = await unlessMissing(
    withFile(path, 'r', async (file) => (await file.read(Buffer.alloc(10), 0, 10, 4086)).buffer.toString('latin1')),
  ).catch((error: unknown) => {
    throw fileError(path, error);
  });
  return magic === 'SWAPSPACE2';
}

function isVolume(path: string): boolean {
  return path.startsWith('/dev/');
}
