import { appendFile, mkdir, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { DiskSize, NewDisk, StoredDisk } from '../../domain/new-disk.js';
import type { DiskKind, StorageFacts } from '../../domain/storage-choice.js';
import type { DiskQuestion, DiskStore, Room } from '../../ports/disk-store.js';
import { SIM_IMAGE_FOLDER } from './sim-images.js';
import { SIM_DISK_BYTES } from './sim-files.js';
import { SIM_GROUP, SIM_POOL } from './sim-stores.js';
import { unlessMissing } from './sim-world.js';

const SIZE: DiskSize = { sizeBytes: SIM_DISK_BYTES, usedBytes: SIM_DISK_BYTES };

/** Disks that are empty files in a folder of their own; there is always room. */
export class SimDiskStore implements DiskStore {
  readonly #folder: string;
  readonly #copyMs: number;

  /**
   * @param folder absolute; made when first needed
   * @param copyMs that each disk takes
   */
  constructor(folder: string, copyMs = 0) {
    this.#folder = folder;
    this.#copyMs = copyMs;
  }

  /** The image's own are there without a file. */
  async find(path: string): Promise<DiskSize | undefined> {
    if (/^\/opt\/xen\/domains\/domU\d*\//.test(path) || path.startsWith(SIM_IMAGE_FOLDER)) return SIZE;
    return (await unlessMissing(stat(this.#fileOf(path)))) === undefined ? undefined : SIZE;
  }

  async survey({ disks }: DiskQuestion): Promise<StorageFacts> {
    const found = await Promise.all(disks.map(async ({ path }) => ({ path, size: await this.find(path) })));
    const kind: DiskKind = { kind: 'file', canReflink: true };
    return {
      disks: new Map(found.flatMap(({ path, size }) => (size === undefined ? [] : [[path, kind] as const]))),
      swaps: new Set(disks.flatMap(({ path }) => (path.endsWith('/swap.img') ? [path] : []))),
      groups: [
        {
          ...{ name: SIM_GROUP, freeBytes: Number.MAX_SAFE_INTEGER },
          pools: [{ name: SIM_POOL, freeBytes: Number.MAX_SAFE_INTEGER }],
        },
      ],
      overlayRefusal: undefined,
    };
  }

  roomFor(): Promise<Room> {
    return Promise.resolve({ store: 'simulated', freeBytes: Number.MAX_SAFE_INTEGER });
  }

  async make({ source, place }: NewDisk, signal: AbortSignal): Promise<void> {
    if (this.#copyMs > 0) await delay(this.#copyMs, undefined, { signal });
    const file = this.#fileOf(place.path);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, '');
    if (source.kind !== 'received') return;
    for await (const piece of source.pieces) await appendFile(file, piece.bytes);
  }

  async remove({ path }: StoredDisk): Promise<boolean> {
    await rm(this.#fileOf(path), { force: true });
    return true;
  }

  #fileOf(path: string): string {
    return join(this.#folder, path);
  }
}
