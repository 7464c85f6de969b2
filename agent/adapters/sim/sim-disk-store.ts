import { mkdir, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { DiskStore } from '../../ports/disk-store.js';
import { unlessMissing } from './sim-world.js';

/** Disks that are empty files in a folder of their own; there is always room. */
export class SimDiskStore implements DiskStore {
  readonly #folder: string;

  /** @param folder absolute; made when first needed */
  constructor(folder: string) {
    this.#folder = folder;
  }

  /** The image's own are there without a file. */
  async sizeOf(path: string): Promise<number | undefined> {
    if (/^\/opt\/xen\/domains\/domU\d*\//.test(path)) return 0;
    return (await unlessMissing(stat(this.#place(path)))) === undefined ? undefined : 0;
  }

  freeAt(): Promise<number> {
    return Promise.resolve(Number.MAX_SAFE_INTEGER);
  }

  async copy(_from: string, to: string): Promise<void> {
    await mkdir(dirname(this.#place(to)), { recursive: true });
    await writeFile(this.#place(to), '');
  }

  remove(path: string): Promise<void> {
    return rm(this.#place(path), { force: true });
  }

  #place(path: string): string {
    return join(this.#folder, path);
  }
}
