// Invariants:
// - Only the hosts that a transfer was opened for get at its ends, each once. To others there is no such transfer.
// - Of a transfer there are a few pieces in memory: whoever sends waits for the one who reads.
// - What ends one end ends the other. An end that does not come, or a transfer in which nothing moves, is ended by time.
import { MAX_PIECE_BYTES, type TransferChunk } from '../../shared/domain/transfer.js';
import { AppError, invalid, messageOf, notFound, toAppError, wrongState } from '../../shared/errors.js';
import type { RandomSource } from '../ports/environment.js';
import type { Timers } from '../ports/timer.js';
import type { TransferSource } from '../ports/transfer-source.js';
import { Pipe } from './pipe.js';

export interface TransferHubOptions {
  readonly timers: Timers;
  readonly random: RandomSource;
  readonly source: TransferSource;
}

/** A transfer that was opened; its ends may come. */
export interface OpenTransfer {
  /** For the orders to both ends: 32 hexadecimal digits. */
  readonly id: string;
  /** Ends it, if it has not ended; to be called when both orders are over. Idempotent. */
  close(reason?: AppError): void;
}

/** Of 256 KiB, and what gRPC holds beside it. */
const WAITING_PIECES = 4;
/** The orders that tell of it go out together; the other host may be behind with its own. */
const QUIET_MS = 300_000;

/** What a transfer that was whole is ended with. */
const TAKEN = Symbol('taken');

interface Transfer {
  readonly id: string;
  readonly pipe: Pipe<TransferChunk>;
  /** Host names; `undefined`: the controller itself. */
  readonly from: string | undefined;
  readonly to: string;
  readonly abort: AbortController;
  isSending: boolean;
  isReceiving: boolean;
  forgetTimer: () => void;
}

/** Bytes from one host to another, or from the controller to a host. */
export class TransferHub {
  private readonly options: TransferHubOptions;
  private readonly transfers = new Map<string, Transfer>();

  constructor(options: TransferHubOptions) {
    this.options = options;
  }

  /** @param from name of the host that sends; @param to of the one that receives */
  open(from: string, to: string): OpenTransfer {
    return this.handleOf(this.add(from, to));
  }

  /** A file of the controller's machine. Nothing of it is read before the host asks. */
  fromFile(path: string, to: string): OpenTransfer {
    const transfer = this.add(undefined, to);
    const { id, abort } = transfer;
    const chunks = this.options.source.chunksOf(path, id, abort.signal);
    void this.fill(transfer, chunks, abort.signal).catch((error: unknown) => this.finish(transfer, error));
    return this.handleOf(transfer);
  }

  /**
   * The sending end, of the host that holds it.
   *
   * @param chunks beginning with the head, which names the transfer
   * @returns when the other end has taken all of it
   * @throws {AppError} `not_found`, `wrong_state` (that end is open already), `invalid`, `timeout`, what ended the other end
   */
  async send(host: string, chunks: AsyncIterable<TransferChunk>, signal: AbortSignal): Promise<void> {
    const iterator = chunks[Symbol.asyncIterator]();
    const first = await iterator.next();
    if (first.done === true || first.value.kind !== 'head') throw invalid('A transfer begins with its head');
    const transfer = this.find(first.value.transferId, ({ from }) => from === host);
    if (transfer.isSending) throw wrongState('That end of the transfer is open already');
    transfer.isSending = true;
    try {
      await transfer.pipe.put(first.value);
      await this.fill(transfer, { [Symbol.asyncIterator]: () => iterator }, signal);
      await this.taken(transfer);
    } catch (error) {
      this.finish(transfer, signal.aborted ? gone(host, error) : error);
      throw error;
    }
  }

  /** The receiving end, of the host that holds it. @throws {AppError} as {@link send} */
  async *receive(
    host: string,
    transferId: string,
    signal: AbortSignal,
  ): AsyncGenerator<TransferChunk, void, undefined> {
    const transfer = this.find(transferId, ({ to }) => to === host);
    if (transfer.isReceiving) throw wrongState('That end of the transfer is open already');
    transfer.isReceiving = true;
    const stop = (): void => this.finish(transfer, gone(host, signal.reason));
    signal.addEventListener('abort', stop, { once: true });
    let isWhole = false;
    try {
      for (;;) {
        const chunk = await transfer.pipe.take();
        if (chunk === undefined) return;
        this.moved(transfer);
        // The reader may leave with the last word, and needs not ask what comes after.
        isWhole = chunk.kind === 'end';
        if (isWhole) signal.removeEventListener('abort', stop);
        yield chunk;
      }
    } finally {
      signal.removeEventListener('abort', stop);
      this.finish(transfer, isWhole ? undefined : gone(host, signal.reason));
    }
  }

  private add(from: string | undefined, to: string): Transfer {
    const id = Buffer.from(this.options.random.bytes(16)).toString('hex');
    const transfer: Transfer = {
      ...{ id, from, to, pipe: new Pipe<TransferChunk>(WAITING_PIECES), abort: new AbortController() },
      ...{ isSending: from === undefined, isReceiving: false, forgetTimer: () => undefined },
    };
    this.transfers.set(id, transfer);
    this.moved(transfer);
    return transfer;
  }

  private handleOf(transfer: Transfer): OpenTransfer {
    const closed = new AppError('unavailable', 'The transfer was given up');
    return { id: transfer.id, close: (reason = closed) => this.finish(transfer, reason) };
  }

  private find(id: string, isTheirs: (transfer: Transfer) => boolean): Transfer {
    const transfer = this.transfers.get(id);
    if (transfer !== undefined && isTheirs(transfer)) return transfer;
    throw notFound(`There is no transfer ${id.slice(0, 32)} for this host`, { hint: 'it may be over: try again' });
  }

  private async fill(transfer: Transfer, chunks: AsyncIterable<TransferChunk>, signal: AbortSignal): Promise<void> {
    for await (const chunk of chunks) {
      signal.throwIfAborted();
      refuseHuge(chunk);
      await transfer.pipe.put(chunk);
      this.moved(transfer);
      if (chunk.kind === 'end') break;
    }
    transfer.pipe.end();
  }

  /** When it is over; throws what it ended with. */
  private taken({ abort: { signal } }: Transfer): Promise<void> {
    return new Promise((resolve, reject) => {
      const tell = (): void => {
        if (signal.reason === TAKEN) resolve();
        else reject(toAppError(signal.reason));
      };
      if (signal.aborted) tell();
      else signal.addEventListener('abort', tell, { once: true });
    });
  }

  /** @param failure `undefined`: all of it was taken */
  private finish(transfer: Transfer, failure: unknown): void {
    transfer.forgetTimer();
    this.transfers.delete(transfer.id);
    if (failure !== undefined) transfer.pipe.fail(failure);
    transfer.abort.abort(failure ?? TAKEN);
  }

  private moved(transfer: Transfer): void {
    transfer.forgetTimer();
    if (transfer.abort.signal.aborted) return;
    transfer.forgetTimer = this.options.timers.after(QUIET_MS, () => this.finish(transfer, tooQuiet(transfer)));
  }
}

function refuseHuge(chunk: TransferChunk): void {
  if (chunk.kind !== 'piece' || chunk.piece.data.length <= MAX_PIECE_BYTES) return;
  throw invalid(`A piece has ${String(chunk.piece.data.length)} bytes, more than ${String(MAX_PIECE_BYTES)}`);
}

function gone(host: string, reason: unknown): AppError {
  return new AppError('unavailable', `${host} ended the transfer: ${messageOf(reason ?? 'it reads no more')}`, {
    host,
  });
}

function tooQuiet({ from, to, isSending, isReceiving }: Transfer): AppError {
  const seconds = String(QUIET_MS / 1000);
  const late = isSending ? to : (from ?? 'the controller');
  const what = isSending && isReceiving ? 'nothing moved' : `${late} did not come`;
  return new AppError('timeout', `The transfer to ${to} was ended: ${what} for ${seconds} s`, { host: late });
}
