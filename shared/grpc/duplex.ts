import type { ClientDuplexStream } from '@grpc/grpc-js';
import { AppError, toAppError } from '../errors.js';
import { isServiceError } from './client.js';
import { fromServiceError } from './status.js';

/** The client's end of a bidirectional stream. */
export class Duplex<Req, Res> {
  readonly #stream: ClientDuplexStream<Req, Res>;
  /** Sends that wait for the network. grpc-js forgets them when the call ends. */
  readonly #pending = new Set<(error: AppError) => void>();
  #isOver = false;

  constructor(stream: ClientDuplexStream<Req, Res>) {
    this.#stream = stream;
    // The loop that reads gets the error too; unheard, it would end the process.
    stream.on('error', (error) => this.#over(asAppError(error)));
    stream.on('status', () => this.#over(new AppError('unavailable', 'The other side ended the stream')));
  }

  /** What comes, once; leaving the loop cancels the call. @throws {AppError} what ended it, if it did not end well */
  async *read(): AsyncGenerator<Res, void, undefined> {
    try {
      for await (const message of this.#stream) yield message as Res;
    } catch (error) {
      throw asAppError(error);
    } finally {
      this.cancel();
    }
  }

  /** Resolves when it went to the network, which is when the next may be sent. @throws {AppError} `unavailable` */
  send(message: Req): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#isOver) return reject(new AppError('unavailable', 'The stream is over'));
      this.#pending.add(reject);
      this.#stream.write(message, (error?: Error | null) => {
        this.#pending.delete(reject);
        if (error) reject(asAppError(error));
        else resolve();
      });
    });
  }

  /** Nothing more will be sent; what comes can still be read. Idempotent. */
  end(): void {
    if (!this.#isOver) this.#stream.end();
  }

  /** Idempotent. */
  cancel(): void {
    this.#stream.cancel();
  }

  #over(error: AppError): void {
    this.#isOver = true;
    for (const reject of this.#pending) reject(error);
    this.#pending.clear();
  }
}

function asAppError(error: unknown): AppError {
  return isServiceError(error) ? fromServiceError(error) : toAppError(error);
}
