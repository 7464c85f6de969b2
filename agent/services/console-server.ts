import type { Logger } from 'pino';
import { messageOf } from '../../shared/errors.js';
import type { ConsoleOrder } from '../domain/order.js';
import type { ConsoleStream } from '../ports/controller-link.js';
import type { Consoles, OpenConsole } from '../ports/consoles.js';

export interface ConsoleServerParts {
  readonly consoles: Consoles;
  readonly log: Logger;
  /** @throws {AppError} `unavailable` if there is no session */
  readonly openStream: (consoleId: string, note: string | undefined) => ConsoleStream;
}

/**
 * Hands consoles on to the controller.
 *
 * Invariants:
 * - Neither side is read faster than the other takes it: nothing piles up here.
 * - A console is open for as long as its stream, and no longer.
 */
export class ConsoleServer {
  readonly #parts: ConsoleServerParts;
  readonly #end = new AbortController();

  constructor(parts: ConsoleServerParts) {
    this.#parts = parts;
  }

  /**
   * Resolves when it is open; it goes on by itself then.
   *
   * @param name of the VM
   * @throws {AppError} as the methods of {@link Consoles}; `unavailable` if there is no session
   */
  async open(name: string, { consoleId, log }: ConsoleOrder): Promise<void> {
    const { consoles, openStream } = this.#parts;
    if (log === undefined) {
      const console = await consoles.open(name);
      try {
        const stream = openStream(consoleId, console.note);
        this.#run(name, stream, () => this.#serve(name, console, stream));
      } catch (error) {
        console.close();
        throw error;
      }
      return;
    }
    const left = new AbortController();
    const signal = AbortSignal.any([this.#end.signal, left.signal]);
    const text = await consoles.openLog(name, log, signal);
    const stream = openStream(consoleId, undefined);
    this.#run(name, stream, async () => {
      // Nothing is typed into a log: that the stream ends is all there is to hear.
      void drain(stream.typed).finally(() => left.abort());
      for await (const piece of text) await stream.send(piece);
      await stream.end('that is all of the log');
    });
  }

  /** Ends all of them. Idempotent. */
  stop(): void {
    this.#end.abort();
  }

  #run(name: string, stream: ConsoleStream, serve: () => Promise<void>): void {
    const cut = (): void => stream.close();
    this.#end.signal.addEventListener('abort', cut, { once: true });
    serve()
      .catch((error: unknown) => {
        // The controller went, or the network: whoever was attached is told there.
        this.#parts.log.debug({ vm: name, reason: messageOf(error) }, 'console cut');
        stream.close();
      })
      .finally(() => this.#end.signal.removeEventListener('abort', cut));
  }

  async #serve(name: string, console: OpenConsole, stream: ConsoleStream): Promise<void> {
    void typeInto(console, stream.typed).finally(() => console.close());
    try {
      for await (const piece of console.output) await stream.send(piece);
    } finally {
      console.close();
    }
    await stream.end(`the domain of ${name} has ended`);
  }
}

async function typeInto(console: OpenConsole, typed: AsyncIterable<Uint8Array>): Promise<void> {
  try {
    for await (const keys of typed) await console.write(keys);
  } catch {
    // Its other direction tells.
  }
}

async function drain(typed: AsyncIterable<Uint8Array>): Promise<void> {
  try {
    for await (const keys of typed) void keys;
  } catch {
    // It is over either way.
  }
}
