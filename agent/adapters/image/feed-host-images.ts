import { mkdir, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { partitionStarts } from '../../domain/image/partition-start.js';
import { IMAGE_HEAD_BYTES, type ImageContent } from '../../../shared/domain/image-format.js';
import type { Sha256 } from '../../../shared/domain/sha256.js';
import type { Exec } from '../../../shared/exec.js';
import type { Clock } from '../../ports/clock.js';
import type { HostImages, UnpackedImage, WantedImage } from '../../ports/host-images.js';
import type { ImageFeed } from '../../ports/image-feed.js';

/** The next order for a VM of the same image comes within seconds, or when somebody has looked at the first one. */
const KEEP_MS = 600_000;
/** One folder of a file system. */
const LOOK_MS = 10_000;

export interface FeedHostImagesParts {
  readonly feed: ImageFeed;
  readonly exec: Exec;
  readonly clock: Clock;
  readonly log: Logger;
  /** Absolute, of its own; made when first needed. */
  readonly folder: string;
}

interface Kept {
  readonly image: Promise<Omit<UnpackedImage, 'release'>>;
  users: number;
  takeBack: () => void;
}

/** Images are raw files in a folder while VMs are made of them, and ten minutes longer. */
export class FeedHostImages implements HostImages {
  readonly #parts: FeedHostImagesParts;
  readonly #kept = new Map<Sha256, Kept>();
  /** Who wants an image while somebody else gets it waits; if that one fails, the next one tries. */
  readonly #turns = new Map<Sha256, Promise<unknown>>();

  constructor(parts: FeedHostImagesParts) {
    this.#parts = parts;
  }

  async acquire(wanted: WantedImage, tell: (percent: number) => void, signal: AbortSignal): Promise<UnpackedImage> {
    const turn = (this.#turns.get(wanted.sha256) ?? Promise.resolve())
      .catch(() => undefined)
      .then(() => this.#acquire(wanted, tell, signal));
    this.#turns.set(wanted.sha256, turn);
    try {
      return await turn;
    } finally {
      if (this.#turns.get(wanted.sha256) === turn) this.#turns.delete(wanted.sha256);
    }
  }

  async clear(): Promise<void> {
    const { folder, log } = this.#parts;
    await rm(folder, { recursive: true, force: true }).catch((error: unknown) => {
      log.warn({ err: error, folder }, 'images that were left could not be removed');
    });
  }

  async #acquire(wanted: WantedImage, tell: (percent: number) => void, signal: AbortSignal): Promise<UnpackedImage> {
    signal.throwIfAborted();
    const { sha256 } = wanted;
    const known = this.#kept.get(sha256);
    const kept = known ?? { image: this.#get(wanted, tell, signal), users: 0, takeBack: () => undefined };
    this.#kept.set(sha256, kept);
    kept.takeBack();
    kept.users++;
    try {
      return { ...(await kept.image), release: this.#releaseOnce(sha256, kept) };
    } catch (error) {
      this.#kept.delete(sha256);
      await this.#remove(sha256);
      throw error;
    }
  }

  #releaseOnce(sha256: Sha256, kept: Kept): () => void {
    let isReleased = false;
    return () => {
      if (isReleased) return;
      isReleased = true;
      kept.users--;
      if (kept.users > 0) return;
      kept.takeBack = this.#parts.clock.schedule(KEEP_MS, () => {
        this.#kept.delete(sha256);
        void this.#remove(sha256);
      });
    };
  }

  async #get(
    { sha256, sizeBytes }: WantedImage,
    tell: (percent: number) => void,
    signal: AbortSignal,
  ): Promise<Omit<UnpackedImage, 'release'>> {
    const { feed, folder, exec } = this.#parts;
    // Most hosts never see an image.
    const { ImageUnpacker } = await import('./image-unpacker.js');
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const path = join(folder, sha256);
    const data = telling(feed.read(sha256, signal), sizeBytes, tell);
    const content = await new ImageUnpacker(exec).unpack({ sha256, data }, path, signal);
    return { path, content, hasCloudInit: await this.#hasCloudInit(path, content, signal) };
  }

  async #remove(sha256: Sha256): Promise<void> {
    const { folder, log } = this.#parts;
    const path = join(folder, sha256);
    await Promise.all([path, `${path}.packed`].map((file) => rm(file, { force: true }))).catch((error: unknown) => {
      log.warn({ err: error, path }, 'an image could not be removed');
    });
  }

  /** Looked for in ext file systems; `undefined`: there is none of them. */
  async #hasCloudInit(path: string, content: ImageContent, signal: AbortSignal): Promise<boolean | undefined> {
    const starts = content.kind === 'disk' ? partitionStarts(await headOf(path)) : [0];
    let found: boolean | undefined;
    for (const start of starts) {
      const image = start === 0 ? path : `${path}?offset=${start}`;
      const result = await this.#parts.exec.run(['debugfs', '-c', '-R', 'ls -p /etc', image], {
        timeoutMs: LOOK_MS,
        signal,
      });
      const listing = result.stdout.toString('latin1');
      if (/\/cloud\/\/?$/m.test(listing)) return true;
      if (listing.includes('/./')) found = false;
    }
    return found;
  }
}

async function* telling(
  data: AsyncIterable<Uint8Array>,
  sizeBytes: number,
  tell: (percent: number) => void,
): AsyncGenerator<Uint8Array, void, undefined> {
  let received = 0;
  let told = 0;
  for await (const bytes of data) {
    received += bytes.length;
    const percent = Math.min(100, Math.floor((received * 100) / Math.max(sizeBytes, 1)));
    if (percent >= told + 5) tell((told = percent));
    yield bytes;
  }
}

async function headOf(path: string): Promise<Buffer> {
  const file = await open(path, 'r');
  try {
    const { buffer, bytesRead } = await file.read({ buffer: Buffer.alloc(IMAGE_HEAD_BYTES), position: 0 });
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}
