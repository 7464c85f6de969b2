import { Metadata, type ClientWritableStream, type ServiceError } from '@grpc/grpc-js';
import { pack, unpack } from '../../../shared/transfer/pack.js';
import type { FilePiece, TransferChunk, TransferHead } from '../../../shared/domain/transfer.js';
import { toAppError, type AppError } from '../../../shared/errors.js';
import type { AgentServiceClient } from '../../../shared/gen/domherd/v1/agent.js';
import type { TransferChunk as WireChunk } from '../../../shared/gen/domherd/v1/transfer.js';
import { callStream, isServiceError } from '../../../shared/grpc/client.js';
import { fromServiceError } from '../../../shared/grpc/status.js';
import { chunkFromWire, chunkToWire } from '../../../shared/grpc/transfer-wire.js';
import type { IdentityStore } from '../../ports/identity-store.js';
import type { IncomingTransfer, TransferLink } from '../../ports/transfer-link.js';
import { dialController } from './dial.js';

/** Dials the controller anew for each transfer: what is sent there delays neither orders nor metrics. */
export class GrpcTransferLink implements TransferLink {
  readonly #identities: IdentityStore;

  constructor(identities: IdentityStore) {
    this.#identities = identities;
  }

  async send(
    transferId: string,
    head: TransferHead,
    pieces: AsyncIterable<FilePiece>,
    signal: AbortSignal,
  ): Promise<void> {
    const client = await dialController(this.#identities, signal);
    try {
      await upload(client, pack(transferId, head, pieces), signal);
    } finally {
      client.close();
    }
  }

  async receive(transferId: string, signal: AbortSignal): Promise<IncomingTransfer> {
    const client = await dialController(this.#identities, signal);
    const closed = new AbortController();
    const limits = { signal: AbortSignal.any([signal, closed.signal]) };
    try {
      const chunks = fromWire(callStream(client.receive.bind(client), { transferId }, limits));
      const { head, pieces } = await unpack(chunks);
      const close = (): void => {
        closed.abort();
        client.close();
      };
      return { head, pieces: closingAfter(pieces, close), close };
    } catch (error) {
      client.close();
      throw error;
    }
  }
}

/** Each chunk is made when the one before went to the network. */
async function upload(
  client: AgentServiceClient,
  chunks: AsyncIterable<TransferChunk>,
  signal: AbortSignal,
): Promise<void> {
  const call = openUpload(client);
  const cancel = (): void => call.stream.cancel();
  signal.addEventListener('abort', cancel, { once: true });
  if (signal.aborted) cancel();
  try {
    for await (const chunk of chunks) {
      await call.write(chunk);
      // One that comes early is a refusal.
      if (call.isAnswered()) break;
    }
    call.stream.end();
    await call.answer;
  } catch (error) {
    cancel();
    signal.throwIfAborted();
    throw error;
  } finally {
    signal.removeEventListener('abort', cancel);
  }
}

interface UploadCall {
  readonly stream: ClientWritableStream<WireChunk>;
  /** Resolves when it went to the network, or the call is over. */
  readonly write: (chunk: TransferChunk) => Promise<void>;
  readonly isAnswered: () => boolean;
  readonly answer: Promise<void>;
}

function openUpload(client: AgentServiceClient): UploadCall {
  let isAnswered = false;
  let wake = (): void => undefined;
  let settle: (error: ServiceError | null) => void = () => undefined;
  const answer = new Promise<void>((resolve, reject) => {
    settle = (error) => (error ? reject(asAppError(error)) : resolve());
  });
  // It may come while nobody waits for it yet.
  answer.catch(() => undefined);
  const stream = client.send(new Metadata(), (error) => {
    isAnswered = true;
    settle(error);
    // grpc-js forgets writes that wait when the call ends.
    wake();
  });
  const write = (chunk: TransferChunk): Promise<void> =>
    new Promise((resolve) => {
      wake = resolve;
      if (isAnswered) resolve();
      else stream.write(chunkToWire(chunk), () => resolve());
    });
  return { stream, write, isAnswered: () => isAnswered, answer };
}

async function* fromWire(chunks: AsyncIterable<WireChunk>): AsyncGenerator<TransferChunk, void, undefined> {
  for await (const chunk of chunks) yield chunkFromWire(chunk);
}

async function* closingAfter(
  pieces: AsyncIterable<FilePiece>,
  close: () => void,
): AsyncGenerator<FilePiece, void, undefined> {
  try {
    yield* pieces;
  } finally {
    close();
  }
}

function asAppError(error: unknown): AppError {
  return isServiceError(error) ? fromServiceError(error) : toAppError(error);
}
