import { Metadata } from '@grpc/grpc-js';
import type { AgentServiceClient } from '../../../shared/gen/domherd/v1/agent.js';
import type { AgentConsoleMessage, ControllerConsoleMessage } from '../../../shared/gen/domherd/v1/console.js';
import { Duplex } from '../../../shared/grpc/duplex.js';
import type { ConsoleStream } from '../../ports/controller-link.js';

export class GrpcConsoleStream implements ConsoleStream {
  readonly #client: AgentServiceClient;
  readonly #duplex: Duplex<AgentConsoleMessage, ControllerConsoleMessage>;

  /** @param client for this stream alone */
  constructor(client: AgentServiceClient, consoleId: string, note = '') {
    this.#client = client;
    this.#duplex = new Duplex(client.console(new Metadata()));
    this.#send({ $case: 'opened', value: { consoleId, note } }).catch(() => undefined);
  }

  get typed(): AsyncIterable<Uint8Array> {
    return this.#read();
  }

  send(output: Uint8Array): Promise<void> {
    return this.#send({ $case: 'output', value: Buffer.from(output.buffer, output.byteOffset, output.byteLength) });
  }

  async end(reason: string): Promise<void> {
    await this.#send({ $case: 'ended', value: reason });
    this.#duplex.end();
  }

  close(): void {
    this.#duplex.cancel();
    this.#client.close();
  }

  #send(message: NonNullable<AgentConsoleMessage['message']>): Promise<void> {
    return this.#duplex.send({ message });
  }

  async *#read(): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      for await (const { typed } of this.#duplex.read()) yield typed;
    } finally {
      this.close();
    }
  }
}
