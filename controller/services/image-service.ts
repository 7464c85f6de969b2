import type { HostId } from '../domain/vm.js';
import { AppError, invalid, notFound } from '../../shared/errors.js';
import { IMAGE_HEAD_BYTES, imageFormat, refuseLinkedQcow2 } from '../../shared/domain/image-format.js';
import { parseSha256, type Sha256 } from '../../shared/domain/sha256.js';
import type { AnnouncedImage, ImageDraft, ImageStore, StoredImage } from '../ports/image-store.js';
import type { UrlSource } from '../ports/url-source.js';

export interface FetchProgress {
  readonly receivedBytes: number;
  /** `undefined`: the server does not tell. */
  readonly totalBytes: number | undefined;
}

export interface ImageServiceOptions {
  readonly store: ImageStore;
  readonly urls: UrlSource;
  /** Whether the host has an order to make a VM of it. */
  readonly mayRead: (hostId: HostId, sha256: Sha256) => boolean;
}

/** How often it is told how far a fetch is. */
const PROGRESS_BYTES = 16 * 1024 * 1024;

/**
 * The images that VMs are made of.
 *
 * Invariants:
 * - What is kept has the hash that it is kept under, and looks like an image.
 * - A host gets the bytes of an image only while it has an order to make a VM of it.
 */
export class ImageService {
  private readonly options: ImageServiceOptions;

  constructor(options: ImageServiceOptions) {
    this.options = options;
  }

  list(): Promise<readonly StoredImage[]> {
    return this.options.store.list();
  }

  find(sha256: Sha256): Promise<StoredImage | undefined> {
    return this.options.store.find(sha256);
  }

  /** @throws {AppError} `not_found` */
  async get(sha256: Sha256): Promise<StoredImage> {
    const image = await this.find(sha256);
    if (image) return image;
    throw notFound(`there is no image ${sha256.slice(0, 12)}`, { image: sha256, hint: 'see domherd image list' });
  }

  /**
   * A draft that wants bytes from its offset on; end it, whatever happens.
   *
   * @returns the image if it is there already
   * @throws {AppError} as {@link ImageStore.begin}
   */
  async begin(announced: AnnouncedImage): Promise<StoredImage | ImageDraft> {
    return (await this.find(announced.sha256)) ?? this.options.store.begin(announced);
  }

  /** @throws {AppError} `invalid` (no image, or another than was announced), `exhausted`, `unavailable` */
  async receive(draft: ImageDraft, name: string, data: AsyncIterable<Uint8Array>): Promise<StoredImage> {
    // What came before was looked at when it came.
    const look = draft.offset === 0 ? new HeadLook() : undefined;
    for await (const bytes of data) {
      look?.see(bytes);
      await draft.write(bytes);
    }
    look?.end();
    return draft.finish(name);
  }

  /** @param sha256 what it must have; `undefined`: whatever it has. @throws {AppError} as {@link UrlSource.open}, `exhausted` */
  async *fetch(
    url: string,
    sha256: Sha256 | undefined,
    signal: AbortSignal,
  ): AsyncGenerator<FetchProgress | StoredImage, void, undefined> {
    const { store, urls } = this.options;
    const kept = sha256 === undefined ? undefined : await store.find(sha256);
    if (kept) {
      yield kept;
      return;
    }
    const known = sha256 === undefined ? (await store.list()).find(({ origin }) => origin?.url === url) : undefined;
    const answer = await urls.open(url, known?.origin, signal);
    if (answer.kind === 'unchanged') {
      if (!known)
        throw new AppError('unavailable', `the server says that ${url} did not change, but it was never fetched`);
      yield known;
      return;
    }
    const draft = await store.begin(undefined);
    try {
      yield* this.drain(draft, answer.data, answer.totalBytes);
      yield await draft.finish(url, answer.origin, sha256);
    } finally {
      await draft.close();
    }
  }

  /** @param image the first digits of its hash, 8 at least, or its name. @throws {AppError} `not_found`, `invalid` */
  async remove(image: string): Promise<StoredImage> {
    const found = (await this.list()).filter(
      ({ sha256, name }) => name === image || (image.length >= 8 && sha256.startsWith(image.toLowerCase())),
    );
    const [first, second] = found;
    if (!first) throw notFound(`there is no image ${image}`, { image, hint: 'see domherd image list' });
    if (second) {
      throw invalid(`${image} is ${found.length} images`, {
        hint: `give the digits: ${first.sha256}, ${second.sha256}`,
      });
    }
    await this.options.store.remove(first.sha256);
    return first;
  }

  /** @throws {AppError} `forbidden` if the host has no business with it, `not_found`, `unavailable` */
  read(hostId: HostId, sha256: Sha256): AsyncIterable<Uint8Array> {
    if (this.options.mayRead(hostId, sha256)) return this.options.store.read(sha256);
    throw new AppError('forbidden', 'a host reads an image while it makes a VM of it');
  }

  private async *drain(
    draft: ImageDraft,
    data: AsyncIterable<Uint8Array>,
    totalBytes: number | undefined,
  ): AsyncGenerator<FetchProgress, void, undefined> {
    const look = new HeadLook();
    let receivedBytes = 0;
    let told = 0;
    for await (const bytes of data) {
      look.see(bytes);
      await draft.write(bytes);
      receivedBytes += bytes.length;
      if (receivedBytes - told < PROGRESS_BYTES) continue;
      told = receivedBytes;
      yield { receivedBytes, totalBytes };
    }
    look.end();
    if (totalBytes === undefined || receivedBytes === totalBytes) return;
    throw new AppError('unavailable', `the server sent ${receivedBytes} of ${totalBytes} bytes`);
  }
}

/** Looks at the beginning of an image as it comes in, and refuses what is none before the rest is waited for. */
class HeadLook {
  private pieces: Uint8Array[] = [];
  private bytes = 0;
  private isDone = false;

  see(piece: Uint8Array): void {
    if (this.isDone) return;
    this.pieces.push(piece.subarray(0, IMAGE_HEAD_BYTES));
    this.bytes += piece.length;
    if (this.bytes >= IMAGE_HEAD_BYTES) this.end();
  }

  end(): void {
    if (this.isDone) return;
    this.isDone = true;
    const head = Buffer.concat(this.pieces);
    this.pieces = [];
    if (head.length === 0) throw invalid('The image is empty');
    if (imageFormat(head) === 'qcow2') refuseLinkedQcow2(head);
  }
}

/** @throws {AppError} `invalid` */
export function optionalSha256(text: string): Sha256 | undefined {
  return text === '' ? undefined : parseSha256(text);
}
