import type {
  handleBidiStreamingCall,
  handleClientStreamingCall,
  handleServerStreamingCall,
  handleUnaryCall,
  UntypedServiceImplementation,
} from '@grpc/grpc-js';
import type { Logger } from 'pino';
import type { Caller } from '../../domain/caller.js';

/** Everything a handler may know of its call besides the request. */
export interface CallInfo {
  readonly caller: Caller;
  /** The certificate's host on the agents' listener; `undefined` for everybody else. Never from a message. */
  readonly agentHost: string | undefined;
  /** Child logger with method and request id. */
  readonly log: Logger;
  /** Aborted when the client is gone, the deadline passed, the certificate was revoked, or the server stops. */
  readonly signal: AbortSignal;
}

export type Unary<Req, Res> = (request: Req, call: CallInfo) => Promise<Res> | Res;
/** What is yielded is sent with backpressure. */
export type Stream<Req, Res> = (request: Req, call: CallInfo) => AsyncIterable<Res>;
/** Answered when the handler has read what it wants. */
export type Upload<Req, Res> = (requests: AsyncIterable<Req>, call: CallInfo) => Promise<Res>;
export type Bidi<Req, Res> = (requests: AsyncIterable<Req>, call: CallInfo) => AsyncIterable<Res>;

type HandlerOf<Handle> =
  Handle extends handleUnaryCall<infer Req, infer Res>
    ? Unary<Req, Res>
    : Handle extends handleServerStreamingCall<infer Req, infer Res>
      ? Stream<Req, Res>
      : Handle extends handleClientStreamingCall<infer Req, infer Res>
        ? Upload<Req, Res>
        : Handle extends handleBidiStreamingCall<infer Req, infer Res>
          ? Bidi<Req, Res>
          : never;

/**
 * The handlers of a generated server interface: `Handlers<LeaseServiceServer>`. Each is plain code that returns, yields or
 * throws AppError; the frame (serve.ts) does authorization, limits, status mapping and logging.
 */
export type Handlers<Server extends UntypedServiceImplementation> = {
  readonly [Name in keyof Server as string extends Name ? never : number extends Name ? never : Name]: HandlerOf<
    Server[Name]
  >;
};
