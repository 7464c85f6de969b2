import { ServerCredentials } from '@grpc/grpc-js';
import type { Logger } from 'pino';
import { AppError } from '../shared/errors.js';
import { Gate } from './adapters/grpc/gate.js';
import { Listener, type ServedService } from './adapters/grpc/listener.js';
import { prepareSocket, protectSocket } from './adapters/grpc/local-socket.js';
import type { OpenCalls } from './adapters/grpc/open-calls.js';
import { anonymous, byCertificate, localAdmin, type Identify } from './adapters/grpc/principal.js';
import { RateLimit } from './adapters/grpc/rate-limit.js';
import type { ServerTls } from './adapters/grpc/server-tls.js';
import { formatListenAddress, type ListenAddress } from './domain/listen-address.js';
import type { RateRule } from './domain/token-bucket.js';
import type { Clock } from './ports/environment.js';
import type { Identity } from './ports/store.js';

export interface NetworkOptions {
  readonly socket: string;
  /** `undefined`: off. */
  readonly listen: ListenAddress | undefined;
  readonly joinListen: ListenAddress | undefined;
  /** Who it is that opens the socket. */
  readonly localName: string;
  readonly tls: ServerTls;
  readonly calls: OpenCalls;
  readonly clock: Clock;
  readonly log: Logger;
  readonly findIdentity: (serial: string) => Identity | undefined;
  readonly services: {
    readonly admin: readonly ServedService[];
    readonly network: readonly ServedService[];
    readonly join: readonly ServedService[];
  };
}

const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;
/** A certificate request is under 1 kB. */
const MAX_JOIN_MESSAGE_BYTES = 64 * 1024;
/** A guard against a client that runs away, not a share: far above what one can use. */
const NETWORK_RATE: RateRule = { perSecond: 2_000, burst: 4_000 };
/** By address: a site's hosts come from one each. */
const JOIN_RATE: RateRule = { perSecond: 10, burst: 50 };
/** What a call may still take when the controller stops; systemd and people wait for 10 s in all. */
const DRAIN_MS = 5_000;

/** The controller's three servers. */
export class Network {
  private readonly options: NetworkOptions;
  private readonly listeners: Listener[] = [];
  private bound: { listen: ListenAddress | undefined; joinListen: ListenAddress | undefined } = {
    listen: undefined,
    joinListen: undefined,
  };

  constructor(options: NetworkOptions) {
    this.options = options;
  }

  /** As bound: with the port that was free where 0 was asked for. `undefined` while off. */
  get listen(): ListenAddress | undefined {
    return this.bound.listen;
  }

  get joinListen(): ListenAddress | undefined {
    return this.bound.joinListen;
  }

  /**
   * The local socket last: who finds it, finds all.
   *
   * @throws {AppError} `unavailable` if an address is taken; see prepareSocket
   */
  async start(): Promise<void> {
    const { socket, listen, joinListen, services, tls, findIdentity, clock, localName } = this.options;
    await prepareSocket(socket);
    if (listen || joinListen) await tls.start();
    if (listen) {
      const identify = byCertificate(findIdentity, clock);
      const gate = this.gate(identify, new RateLimit(NETWORK_RATE));
      this.bound.listen = await this.open(listen, 'required', gate, services.network, MAX_MESSAGE_BYTES);
    }
    if (joinListen) {
      const gate = this.gate(anonymous, new RateLimit(JOIN_RATE));
      this.bound.joinListen = await this.open(joinListen, 'anonymous', gate, services.join, MAX_JOIN_MESSAGE_BYTES);
    }
    await this.openSocket(socket, this.gate(localAdmin(localName), undefined), services.admin);
  }

  /** Ends streams with `unavailable`, and lets other calls finish, for at most 5 s. */
  async stop(): Promise<void> {
    const { calls, tls } = this.options;
    const stopping = new AppError('unavailable', 'The controller is stopping', { hint: 'try again when it runs' });
    tls.stop();
    const stopped = Promise.all(this.listeners.map((listener) => listener.stop(DRAIN_MS)));
    calls.endStreams(stopping);
    await stopped;
    calls.endAll(stopping);
  }

  private gate(identify: Identify, rate: RateLimit | undefined): Gate {
    const { calls, clock, log } = this.options;
    return new Gate({ identify, calls, clock, rate, log });
  }

  private async open(
    address: ListenAddress,
    clients: 'required' | 'anonymous',
    gate: Gate,
    services: readonly ServedService[],
    maxMessageBytes: number,
  ): Promise<ListenAddress> {
    const credentials = this.options.tls.credentials(clients);
    const listener = new Listener({
      address: formatListenAddress(address),
      credentials,
      gate,
      services,
      maxMessageBytes,
    });
    const port = await listener.start();
    this.listeners.push(listener);
    return { host: address.host, port };
  }

  private async openSocket(path: string, gate: Gate, services: readonly ServedService[]): Promise<void> {
    const credentials = ServerCredentials.createInsecure();
    const address = `unix:${path}`;
    const listener = new Listener({ address, credentials, gate, services, maxMessageBytes: MAX_MESSAGE_BYTES });
    await listener.start();
    this.listeners.push(listener);
    protectSocket(path);
  }
}
