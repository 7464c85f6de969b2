import { credentials, Metadata, type ChannelCredentials, type ClientDuplexStream } from '@grpc/grpc-js';
import { AppError, toAppError } from '../../../shared/errors.js';
import { callUnary, isServiceError } from '../../../shared/grpc/client.js';
import { fromServiceError } from '../../../shared/grpc/status.js';
import { AgentServiceClient, type AgentMessage, type ControllerMessage } from '../../../shared/gen/domherd/v1/agent.js';
import type { Identity } from '../../domain/identity.js';
import type { DownMessage, Hello, UpMessage, Welcome } from '../../domain/session-message.js';
import type { Clock } from '../../ports/clock.js';
import type { ConsoleStream, ControllerLink, SessionChannel } from '../../ports/controller-link.js';
import { firstToAnswer } from './address-list.js';
import { CHANNEL_OPTIONS } from './channel-option.js';
import { GrpcConsoleStream } from './grpc-console-stream.js';
import { downFromWire, helloToWire, upToWire, welcomeFromWire } from './convert.js';

/** TCP, TLS, hello and welcome over a slow link; a controller that has just started serves a thousand at once. */
const WELCOME_MS = 10_000;
/** The controller signs at once; the rest is for a busy one. */
const RENEW_MS = 30_000;
/** What is left to be sent when a session is closed gets this long. */
const LINGER_MS = 500;

type Stream = ClientDuplexStream<AgentMessage, ControllerMessage>;

/** Dials the controller with this host's certificate. */
export class GrpcControllerLink implements ControllerLink {
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  connect(identity: Identity, hello: Hello, signal: AbortSignal): Promise<SessionChannel> {
    return firstToAnswer(identity.addresses, (address) => this.#connectTo(address, identity, hello, signal), signal);
  }

  async #connectTo(address: string, identity: Identity, hello: Hello, signal: AbortSignal): Promise<SessionChannel> {
    const { caPem, keyPem, certificatePem } = identity;
    const secure = credentials.createSsl(Buffer.from(caPem), Buffer.from(keyPem), Buffer.from(certificatePem));
    const client = new AgentServiceClient(address, secure, CHANNEL_OPTIONS);
    const stream = client.session(new Metadata());
    const channel = new GrpcSessionChannel(address, secure, client, stream, this.#clock);
    const cancel = (): void => stream.cancel();
    const takeBack = this.#clock.schedule(WELCOME_MS, cancel);
    signal.addEventListener('abort', cancel, { once: true });
    if (signal.aborted) cancel();
    try {
      await channel.open(hello);
      return channel;
    } catch (error) {
      channel.close();
      throw error;
    } finally {
      takeBack();
      signal.removeEventListener('abort', cancel);
    }
  }
}

class GrpcSessionChannel implements SessionChannel {
  readonly address: string;
  readonly #secure: ChannelCredentials;
  readonly #client: AgentServiceClient;
  readonly #stream: Stream;
  readonly #clock: Clock;
  readonly #reader: AsyncIterator<ControllerMessage>;
  /** Sends that wait for the network. grpc-js forgets them when the call ends. */
  readonly #pending = new Set<(error: AppError) => void>();
  #welcome: Welcome | undefined;
  #isOver = false;

  constructor(address: string, secure: ChannelCredentials, client: AgentServiceClient, stream: Stream, clock: Clock) {
    this.address = address;
    this.#secure = secure;
    this.#client = client;
    this.#stream = stream;
    this.#clock = clock;
    this.#reader = stream[Symbol.asyncIterator]() as AsyncIterator<ControllerMessage>;
    // The loop that reads gets the error too; unheard, it would end the process.
    stream.on('error', (error) => this.#over(asAppError(error)));
    stream.on('end', () => this.#over(new AppError('unavailable', 'The controller ended the session')));
  }

  /** Says hello and waits for the welcome. */
  async open(hello: Hello): Promise<void> {
    this.#stream.write(helloToWire(hello));
    const first = await this.#next();
    if (first === undefined) throw new AppError('unavailable', 'The controller ended the session before a welcome');
    this.#welcome = welcomeFromWire(first);
  }

  get welcome(): Welcome {
    if (this.#welcome === undefined) throw new Error('a channel is handed out after its welcome');
    return this.#welcome;
  }

  get messages(): AsyncIterable<DownMessage> {
    return this.#read();
  }

  send(message: UpMessage): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#isOver) return reject(new AppError('unavailable', 'The session is over'));
      this.#pending.add(reject);
      this.#stream.write(upToWire(message), (error?: Error | null) => {
        this.#pending.delete(reject);
        if (error) reject(asAppError(error));
        else resolve();
      });
    });
  }

  async renew(request: string, signal: AbortSignal): Promise<string> {
    const limits = { timeoutMs: RENEW_MS, signal };
    const { certificate } = await callUnary(this.#client.renew.bind(this.#client), { csr: request }, limits);
    return certificate;
  }

  openConsole(consoleId: string, note: string | undefined): ConsoleStream {
    return new GrpcConsoleStream(new AgentServiceClient(this.address, this.#secure, CHANNEL_OPTIONS), consoleId, note);
  }

  close(): void {
    if (this.#isOver) return this.#client.close();
    this.#over(new AppError('unavailable', 'The session was closed'));
    this.#stream.end();
    const drop = (): void => {
      takeBack();
      this.#stream.cancel();
      this.#client.close();
    };
    const takeBack = this.#clock.schedule(LINGER_MS, drop);
    this.#stream.on('end', drop);
    this.#stream.on('error', drop);
    // Nobody reads any more, and an 'end' comes only after what was not read.
    this.#stream.resume();
  }

  async *#read(): AsyncGenerator<DownMessage, void, undefined> {
    for (let message = await this.#next(); message !== undefined; message = await this.#next()) {
      const down = downFromWire(message);
      if (down !== undefined) yield down;
    }
  }

  async #next(): Promise<ControllerMessage | undefined> {
    try {
      const next = await this.#reader.next();
      return next.done === true ? undefined : next.value;
    } catch (error) {
      throw asAppError(error);
    }
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
