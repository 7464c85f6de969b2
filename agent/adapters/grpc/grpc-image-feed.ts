import type { Sha256 } from '../../../shared/domain/sha256.js';
import { callStream } from '../../../shared/grpc/client.js';
import type { IdentityStore } from '../../ports/identity-store.js';
import type { ImageFeed } from '../../ports/image-feed.js';

/** Reads images from the controller; loads what it takes with the first one. */
export class GrpcImageFeed implements ImageFeed {
  readonly #identities: IdentityStore;

  constructor(identities: IdentityStore) {
    this.#identities = identities;
  }

  async *read(sha256: Sha256, signal: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
    const { dialController } = await import('./dial.js');
    const client = await dialController(this.#identities, signal);
    try {
      for await (const { data } of callStream(client.receiveImage.bind(client), { sha256 }, { signal })) yield data;
    } finally {
      client.close();
    }
  }
}
