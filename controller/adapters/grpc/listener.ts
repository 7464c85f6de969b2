import { Server, type ServerCredentials, type ServiceDefinition } from '@grpc/grpc-js';
import { AppError, messageOf } from '../../../shared/errors.js';
import type { Gate } from './gate.js';
import { bindService, servedDefinition, type HandlerTable } from './serve.js';

/** A generated service and what answers it. */
export interface ServedService {
  readonly definition: ServiceDefinition;
  readonly handlers: HandlerTable;
}

export interface ListenerOptions {
  /** "host:port", where port 0 is any that is free; or "unix:" and an absolute path. */
  readonly address: string;
  readonly credentials: ServerCredentials;
  readonly gate: Gate;
  readonly services: readonly ServedService[];
  /** Of one message, bytes. */
  readonly maxMessageBytes: number;
}

// Calls of one connection at a time: an agent has a handful, a program that talks to the controller may have many.
const MAX_CONCURRENT_CALLS = 1_000;
// A peer that is gone without a word is noticed after both.
const KEEPALIVE_MS = 10_000;
const KEEPALIVE_TIMEOUT_MS = 10_000;

/** One server: an address, who may come in, and what is served there. */
export class Listener {
  private readonly options: ListenerOptions;
  private readonly server: Server;

  constructor(options: ListenerOptions) {
    this.options = options;
    this.server = new Server({
      'grpc.max_receive_message_length': options.maxMessageBytes,
      'grpc.max_concurrent_streams': MAX_CONCURRENT_CALLS,
      'grpc.keepalive_time_ms': KEEPALIVE_MS,
      'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT_MS,
      'grpc.keepalive_permit_without_calls': 1,
    });
    for (const { definition, handlers } of options.services) {
      this.server.addService(servedDefinition(definition), bindService(definition, handlers, options.gate));
    }
  }

  /**
   * @returns the port; 0 of a unix socket
   * @throws {AppError} `unavailable` if the address is taken or not of this machine
   */
  start(): Promise<number> {
    const { address, credentials } = this.options;
    return new Promise((resolve, reject) => {
      this.server.bindAsync(address, credentials, (error, port) => {
        if (error === null) resolve(port);
        else reject(cannotListen(address, error));
      });
    });
  }

  /** Takes no new calls and waits for those that run, at most `limitMs` milliseconds. */
  stop(limitMs: number): Promise<void> {
    return new Promise((resolve) => {
      const force = setTimeout(() => {
        this.server.forceShutdown();
        resolve();
      }, limitMs);
      this.server.tryShutdown(() => {
        clearTimeout(force);
        resolve();
      });
    });
  }
}

function cannotListen(address: string, error: Error): AppError {
  // As in "No address added out of total 1 resolved errors: [listen EADDRINUSE: address already in use ...]".
  const text = messageOf(error);
  const isTaken = text.includes('EADDRINUSE');
  return new AppError(
    'unavailable',
    `The controller cannot listen on ${address}${isTaken ? ': another program does' : ''}`,
    { address, reason: text, hint: 'use other addresses for --listen and --join-listen, or "off"' },
    error,
  );
}
