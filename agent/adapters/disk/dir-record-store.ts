import { mkdir, readdir, readFile, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { AppError, invalid } from '../../../shared/errors.js';
import type { RecordStore } from '../../ports/record-store.js';
import { fileError, syncFolder, unlessMissing, writeFileAtomically } from './atomic-file.js';

const KEY = /^[a-z0-9][a-z0-9._-]{0,199}$/;

/** A folder with a file each, readable by its owner only. */
export class DirRecordStore implements RecordStore {
  readonly #folder: string;

  /** @param folder absolute; made when first needed */
  constructor(folder: string) {
    this.#folder = folder;
  }

  async list(): Promise<readonly string[]> {
    const names = await this.#guard('listed', () => unlessMissing(readdir(this.#folder)));
    return (names ?? []).filter((name) => KEY.test(name)).sort();
  }

  read(key: string): Promise<Uint8Array | undefined> {
    return this.#guard(key, () => unlessMissing(readFile(this.#path(key))));
  }

  async write(key: string, bytes: Uint8Array): Promise<void> {
    await this.#guard(key, async () => {
      await mkdir(this.#folder, { recursive: true, mode: 0o700 });
      await writeFileAtomically(this.#path(key), Buffer.from(bytes), { mode: 0o600 });
    });
  }

  async remove(key: string): Promise<void> {
    await this.#guard(key, async () => {
      if ((await unlessMissing(unlink(this.#path(key)).then(() => true))) === true) await syncFolder(this.#folder);
    });
  }

  #path(key: string): string {
    if (!KEY.test(key)) throw invalid(`"${key}" is not the key of a record`, { key });
    return join(this.#folder, key);
  }

  async #guard<T>(what: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw error instanceof AppError ? error : fileError(`${this.#folder}: ${what}`, error);
    }
  }
}
