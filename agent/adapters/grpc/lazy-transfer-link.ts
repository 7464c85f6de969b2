import type { FilePiece, TransferHead } from '../../../shared/domain/transfer.js';
import type { IdentityStore } from '../../ports/identity-store.js';
import type { IncomingTransfer, TransferLink } from '../../ports/transfer-link.js';

/** Loads what it takes with the first transfer: most hosts never see one. */
export class LazyTransferLink implements TransferLink {
  readonly #identities: IdentityStore;

  constructor(identities: IdentityStore) {
    this.#identities = identities;
  }

  async send(id: string, head: TransferHead, pieces: AsyncIterable<FilePiece>, signal: AbortSignal): Promise<void> {
    return (await this.#link()).send(id, head, pieces, signal);
  }

  async receive(id: string, signal: AbortSignal): Promise<IncomingTransfer> {
    return (await this.#link()).receive(id, signal);
  }

  async #link(): Promise<TransferLink> {
    const { GrpcTransferLink } = await import('./grpc-transfer-link.js');
    return new GrpcTransferLink(this.#identities);
  }
}
