// Images come as one stream, packed or not, and become a raw file with holes.
//
// Invariants:
// - What an image is tell its first bytes. qemu-img is always told the format: a guest's bytes could look like another one.
// - A qcow2 that names other files is never opened.
import { createHash, type Hash } from 'node:crypto';
import { open, rename, rm, statfs, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import {
  IMAGE_HEAD_BYTES,
  imageContent,
  imageFormat,
  refuseLinkedQcow2,
  type ImageContent,
  type ImageFormat,
} from '../../../shared/domain/image-format.js';
import { RESERVE_BYTES } from '../../../shared/domain/disk-room.js';
import type { Sha256 } from '../../../shared/domain/sha256.js';
import { AppError, invalid, messageOf, toAppError } from '../../../shared/errors.js';
import { outputOf, type Exec } from '../../../shared/exec.js';
import { SparseWriter } from './sparse-file.js';

/** A large image over a slow disk: the longest that an order may take. */
const UNPACK_MS = 3_600_000;
/** How often it is asked what is free. */
const CHECK_BYTES = 64 * 1024 * 1024;

export interface PackedImage {
  readonly sha256: Sha256;
  readonly data: AsyncIterable<Uint8Array>;
}

export class ImageUnpacker {
  readonly #exec: Exec;

  constructor(exec: Exec) {
    this.#exec = exec;
  }

  /**
   * Makes the raw file `to`, durable on return; what an end in the middle left is at `to` and beside it, with a dot and more
   * behind its name.
   *
   * @throws {AppError} `invalid` (no image, another hash), `exhausted` (no room), `unavailable` (a program is missing, the source)
   */
  async unpack({ sha256, data }: PackedImage, to: string, signal: AbortSignal): Promise<ImageContent> {
    const hash = createHash('sha256');
    const { head, all } = await withHead(hashing(data, hash));
    const format = imageFormat(head);
    const packed = `${to}.packed`;
    await guard(to, signal, async () => {
      await this.#write(format, all, format === 'qcow2' ? packed : to, signal);
      const found = hash.digest('hex');
      if (found !== sha256) throw invalid(`The image came with the SHA-256 ${found}, not ${sha256}`);
      // Packed twice, as clouds do it.
      const isPackedStill = format !== 'qcow2' && format !== 'raw' && imageFormat(await headOf(to)) === 'qcow2';
      if (isPackedStill) await rename(to, packed);
      if (isPackedStill || format === 'qcow2') await this.#convert(packed, to, signal);
      await withFile(to, 'r+', (file) => file.sync());
    });
    const unpacked = await headOf(to);
    if (imageFormat(unpacked) !== 'raw') {
      throw invalid('The image is packed more than once', { hint: 'unpack it, and give what was in it' });
    }
    return imageContent(unpacked);
  }

  async #write(format: ImageFormat, all: AsyncIterable<Uint8Array>, to: string, signal: AbortSignal): Promise<void> {
    switch (format) {
      case 'raw':
      case 'qcow2':
        return writeSparsely(all, to, signal);
      case 'gzip':
        return pipeline(
          Readable.from(all),
          createGunzip(),
          (bytes: AsyncIterable<Uint8Array>) => writeSparsely(bytes, to, signal),
          { signal },
        );
      case 'zstd': {
        const command = ['zstd', '-d', '-q', '-f', '--sparse', '-o', to] as const;
        return this.#run(command, 'zstd', all, signal);
      }
    }
  }

  async #convert(from: string, to: string, signal: AbortSignal): Promise<void> {
    refuseLinkedQcow2(await headOf(from));
    await this.#run(['qemu-img', 'convert', '-f', 'qcow2', '-O', 'raw', from, to], 'qemu-utils', undefined, signal);
    await rm(from);
  }

  /** @param debian the package of the program */
  async #run(
    command: readonly [string, ...string[]],
    debian: string,
    all: AsyncIterable<Uint8Array> | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    const source = all === undefined ? undefined : failing(all);
    const result = await this.#exec.run(command, { timeoutMs: UNPACK_MS, signal, input: source?.data });
    signal.throwIfAborted();
    if (source?.error !== undefined) throw toAppError(source.error);
    if (result.kind === 'ok') return;
    const [program] = command;
    if (result.kind === 'missing') {
      throw new AppError('unavailable', `The host cannot unpack the image: it has no ${program}`, {
        hint: `apt-get install ${debian}, on the host`,
      });
    }
    throw new AppError('unavailable', `The image could not be unpacked: ${program} failed`, {
      output: outputOf(result),
    });
  }
}

async function writeSparsely(all: AsyncIterable<Uint8Array>, to: string, signal: AbortSignal): Promise<void> {
  await withFile(to, 'w', async (file) => {
    const writer = new SparseWriter(file);
    let checkedAt = -CHECK_BYTES;
    for await (const bytes of all) {
      signal.throwIfAborted();
      if (writer.writtenBytes - checkedAt >= CHECK_BYTES) {
        await refuseFull(to);
        checkedAt = writer.writtenBytes;
      }
      await writer.write(bytes);
    }
    await writer.finish();
  });
}

async function refuseFull(path: string): Promise<void> {
  const { bavail, bsize } = await statfs(dirname(path));
  if (bavail * bsize >= RESERVE_BYTES + CHECK_BYTES) return;
  throw full(path);
}

function full(path: string): AppError {
  return new AppError('exhausted', `There is no room for the image in ${dirname(path)}`, {
    hint: 'remove what is not needed there, or take another host',
  });
}

async function withHead(
  data: AsyncIterable<Uint8Array>,
): Promise<{ readonly head: Buffer; readonly all: AsyncIterable<Uint8Array> }> {
  const iterator = data[Symbol.asyncIterator]();
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  while (bytes < IMAGE_HEAD_BYTES) {
    const next = await iterator.next();
    if (next.done === true) break;
    pieces.push(next.value);
    bytes += next.value.length;
  }
  const head = Buffer.concat(pieces);
  async function* all(): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      if (head.length > 0) yield head;
      for (let next = await iterator.next(); next.done !== true; next = await iterator.next()) yield next.value;
    } finally {
      await iterator.return?.();
    }
  }
  return { head: head.subarray(0, IMAGE_HEAD_BYTES), all: all() };
}

async function* hashing(data: AsyncIterable<Uint8Array>, hash: Hash): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const bytes of data) {
    hash.update(bytes);
    yield bytes;
  }
}

/** A command that is fed from it tells only that its input broke off, not why. */
function failing(data: AsyncIterable<Uint8Array>): { readonly data: AsyncIterable<Uint8Array>; error?: unknown } {
  const source: { data: AsyncIterable<Uint8Array>; error?: unknown } = { data };
  async function* watched(): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      yield* data;
    } catch (error) {
      source.error = error;
      throw error;
    }
  }
  source.data = watched();
  return source;
}

async function headOf(path: string): Promise<Buffer> {
  return withFile(path, 'r', async (file) => {
    const { buffer, bytesRead } = await file.read({ buffer: Buffer.alloc(IMAGE_HEAD_BYTES), position: 0 });
    return buffer.subarray(0, bytesRead);
  });
}

async function withFile<T>(path: string, flags: string, use: (file: FileHandle) => Promise<T>): Promise<T> {
  const file = await open(path, flags, 0o600);
  try {
    return await use(file);
  } finally {
    await file.close();
  }
}

async function guard(path: string, signal: AbortSignal, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof AppError) throw error;
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'ENOSPC') throw full(path);
    if (typeof code === 'string' && code.startsWith('Z_')) {
      throw invalid(`The image cannot be unpacked: ${messageOf(error)}`, { hint: 'gzip -t tells whether it is whole' });
    }
    throw new AppError('unavailable', `The image could not be unpacked to ${path}: ${messageOf(error)}`, {}, error);
  }
}
