import type { FileHandle } from 'node:fs/promises';

/** What a file system gives away at least, and what most images are aligned to. */
const BLOCK_BYTES = 4096;
const ZEROS = Buffer.alloc(BLOCK_BYTES);

/** Writes one stream into an empty file; blocks of zeros become holes. */
export class SparseWriter {
  readonly #file: FileHandle;
  /** Less than a block that is not written yet. */
  #rest = Buffer.alloc(0);
  #at = 0;
  /** Of blocks, what the file takes. */
  writtenBytes = 0;

  constructor(file: FileHandle) {
    this.#file = file;
  }

  async write(bytes: Uint8Array): Promise<void> {
    const all = this.#rest.length === 0 ? Buffer.from(bytes) : Buffer.concat([this.#rest, bytes]);
    const whole = all.length - (all.length % BLOCK_BYTES);
    await this.#writeBlocks(all.subarray(0, whole));
    this.#rest = Buffer.from(all.subarray(whole));
  }

  /** @returns the length of all */
  async finish(): Promise<number> {
    if (this.#rest.length > 0) await this.#put(this.#rest);
    await this.#file.truncate(this.#at);
    return this.#at;
  }

  /** Blocks with something in them that follow one another are written together. */
  async #writeBlocks(blocks: Buffer): Promise<void> {
    let start = 0;
    for (let at = 0; at < blocks.length; at += BLOCK_BYTES) {
      if (!blocks.subarray(at, at + BLOCK_BYTES).equals(ZEROS)) continue;
      await this.#put(blocks.subarray(start, at));
      this.#at += BLOCK_BYTES;
      start = at + BLOCK_BYTES;
    }
    await this.#put(blocks.subarray(start));
  }

  async #put(bytes: Buffer): Promise<void> {
    for (let done = 0; done < bytes.length;) {
      const { bytesWritten } = await this.#file.write(bytes, done, bytes.length - done, this.#at + done);
      done += bytesWritten;
    }
    this.#at += bytes.length;
    this.writtenBytes += bytes.length;
  }
}
