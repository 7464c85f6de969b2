// Images are files of a folder: HASH has the bytes, HASH.json its name; HASH.part came in part.
//
// Invariants:
// - A file HASH is whole, durable, and has that hash. Its note comes before it: an image without one does not exist.
// - A draft is of one writer in this process, and the folder is of one process.
import { createHash, randomBytes, type Hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, readdir, readFile, rename, rm, stat, statfs, writeFile, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { AppError, invalid, messageOf, notFound, wrongState } from '../../../shared/errors.js';
import { parseSha256, type Sha256 } from '../../../shared/domain/sha256.js';
import type { AnnouncedImage, ImageDraft, ImageOrigin, ImageStore, StoredImage } from '../../ports/image-store.js';

/** Left free: the database is on the same file system. */
const RESERVE_BYTES = 256 * 1024 * 1024;
/** How often it is asked what is free. */
const CHECK_BYTES = 64 * 1024 * 1024;
const READ_BYTES = 256 * 1024;

const NoteSchema = v.object({
  name: v.string(),
  origin: v.optional(v.object({ url: v.string(), etag: v.optional(v.string()), lastModified: v.optional(v.string()) })),
});

export class DirImageStore implements ImageStore {
  readonly #folder: string;
  readonly #open = new Set<Sha256>();

  /** @param folder absolute; made when first needed */
  constructor(folder: string) {
    this.#folder = folder;
  }

  list(): Promise<readonly StoredImage[]> {
    return guard(async () => {
      const names = (await unlessMissing(readdir(this.#folder))) ?? [];
      const hashes = names.filter((name) => /^[0-9a-f]{64}$/.test(name)).map(parseSha256);
      const found = await Promise.all(hashes.map((sha256) => this.find(sha256)));
      return found.filter((image) => image !== undefined).sort((a, b) => (a.name < b.name ? -1 : 1));
    });
  }

  find(sha256: Sha256): Promise<StoredImage | undefined> {
    return guard(async () => {
      const path = join(this.#folder, sha256);
      const found = await unlessMissing(Promise.all([stat(path), readFile(`${path}.json`, 'utf8')]));
      if (found === undefined) return undefined;
      const [{ size }, text] = found;
      const { name, origin } = v.parse(NoteSchema, JSON.parse(text));
      const { url = '', etag, lastModified } = origin ?? {};
      return { sha256, sizeBytes: size, name, origin: origin && { url, etag, lastModified } };
    });
  }

  async begin(announced: AnnouncedImage | undefined): Promise<ImageDraft> {
    const sha256 = announced?.sha256;
    if (sha256 !== undefined && this.#open.has(sha256)) {
      throw wrongState(`The image ${sha256.slice(0, 12)} is just being sent by somebody`, {
        hint: 'wait, and try again',
      });
    }
    if (sha256 !== undefined) this.#open.add(sha256);
    const release = (): void => void (sha256 !== undefined && this.#open.delete(sha256));
    return guard(async () => {
      try {
        await mkdir(this.#folder, { recursive: true, mode: 0o700 });
        return await FileDraft.open(this.#folder, announced, release);
      } catch (error) {
        release();
        throw error;
      }
    });
  }

  async *read(sha256: Sha256): AsyncGenerator<Uint8Array, void, undefined> {
    if ((await this.find(sha256)) === undefined) throw notFound(`There is no image ${sha256}`, { image: sha256 });
    const stream = createReadStream(join(this.#folder, sha256), { highWaterMark: READ_BYTES });
    try {
      for await (const bytes of stream) yield bytes as Buffer;
    } catch (error) {
      throw fileError(error);
    }
  }

  remove(sha256: Sha256): Promise<void> {
    return guard(async () => {
      const path = join(this.#folder, sha256);
      for (const file of [path, `${path}.json`, `${path}.part`]) await rm(file, { force: true });
      await unlessMissing(syncFolder(this.#folder));
    });
  }
}

class FileDraft implements ImageDraft {
  readonly #folder: string;
  readonly #path: string;
  readonly #file: FileHandle;
  readonly #announced: AnnouncedImage | undefined;
  readonly #hash: Hash;
  readonly #release: () => void;
  readonly offset: number;
  #sizeBytes: number;
  #checkedAt: number;
  #isOver = false;

  static async open(folder: string, announced: AnnouncedImage | undefined, release: () => void): Promise<FileDraft> {
    const path = join(folder, `${announced?.sha256 ?? randomBytes(16).toString('hex')}.part`);
    const file = await open(path, 'a+', 0o600);
    const hash = createHash('sha256');
    const { size } = await file.stat();
    // More than there can be is of another image, or of none.
    const offset = size > (announced?.sizeBytes ?? 0) ? 0 : size;
    if (offset === 0) await file.truncate(0);
    else for await (const bytes of createReadStream(path, { end: offset - 1 })) hash.update(bytes as Buffer);
    const draft = new FileDraft(folder, path, { file, hash, announced, offset, release });
    try {
      await draft.#refuseFull((announced?.sizeBytes ?? 0) - offset);
    } catch (error) {
      await draft.close();
      throw error;
    }
    return draft;
  }

  private constructor(
    folder: string,
    path: string,
    parts: {
      readonly file: FileHandle;
      readonly hash: Hash;
      readonly announced: AnnouncedImage | undefined;
      readonly offset: number;
      readonly release: () => void;
    },
  ) {
    this.#folder = folder;
    this.#path = path;
    this.#file = parts.file;
    this.#hash = parts.hash;
    this.#announced = parts.announced;
    this.#release = parts.release;
    this.offset = parts.offset;
    this.#sizeBytes = parts.offset;
    this.#checkedAt = parts.offset;
  }

  async write(bytes: Uint8Array): Promise<void> {
    const sizeBytes = this.#sizeBytes + bytes.length;
    if (this.#announced !== undefined && sizeBytes > this.#announced.sizeBytes) {
      throw invalid(`The image has more than the ${this.#announced.sizeBytes} bytes that were announced`);
    }
    if (sizeBytes - this.#checkedAt > CHECK_BYTES) {
      await this.#refuseFull(bytes.length);
      this.#checkedAt = sizeBytes;
    }
    await guard(() => this.#file.writeFile(bytes));
    this.#hash.update(bytes);
    this.#sizeBytes = sizeBytes;
  }

  async finish(name: string, origin?: ImageOrigin, wanted = this.#announced?.sha256): Promise<StoredImage> {
    const sha256 = parseSha256(this.#hash.digest('hex'));
    if (wanted !== undefined && wanted !== sha256) {
      await this.#drop();
      throw invalid(`The image ${name} has the SHA-256 ${sha256}, not ${wanted}`, {
        sha256,
        hint: 'did it change, or is it another one? look at the list of hashes beside it',
      });
    }
    await guard(async () => {
      const path = join(this.#folder, sha256);
      await this.#file.sync();
      await writeFile(`${path}.json`, JSON.stringify({ name, origin }), { mode: 0o600, flush: true });
      await rename(this.#path, path);
      await syncFolder(this.#folder);
    });
    await this.close();
    return { sha256, sizeBytes: this.#sizeBytes, name, origin };
  }

  async close(): Promise<void> {
    if (this.#isOver) return;
    this.#isOver = true;
    await this.#file.close();
    if (this.#announced === undefined) await rm(this.#path, { force: true });
    this.#release();
  }

  async #drop(): Promise<void> {
    await rm(this.#path, { force: true });
    await this.close();
  }

  async #refuseFull(bytes: number): Promise<void> {
    const { bavail, bsize } = await statfs(this.#folder);
    const free = bavail * bsize - RESERVE_BYTES;
    if (bytes <= free) return;
    throw new AppError('exhausted', `There is no room for the image in ${this.#folder}`, {
      needed: String(bytes),
      free: String(Math.max(free, 0)),
      hint: 'domherd image list tells what is there, image delete removes it; or start the controller with another --data-dir',
    });
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

async function guard<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw error instanceof AppError ? error : fileError(error);
  }
}

function fileError(error: unknown): AppError {
  return new AppError('unavailable', `The folder of images cannot be used: ${messageOf(error)}`, {}, error);
}

async function unlessMissing<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}
