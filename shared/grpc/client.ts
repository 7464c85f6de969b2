import {
  Metadata,
  type CallOptions,
  type ClientReadableStream,
  type ClientUnaryCall,
  type ServiceError,
} from '@grpc/grpc-js';
import { toAppError } from '../errors.js';
import { fromServiceError } from './status.js';

type UnaryCall<Req, Res> = (
  request: Req,
  metadata: Metadata,
  options: CallOptions,
  done: (error: ServiceError | null, response: Res) => void,
) => ClientUnaryCall;

type StreamCall<Req, Res> = (request: Req, metadata: Metadata, options: CallOptions) => ClientReadableStream<Res>;

export interface CallLimits {
  /** Milliseconds from now; a unary call without an end is a hang. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * A unary call as a promise: `callUnary(client.acquire.bind(client), request, { timeoutMs: 10_000 })`.
 *
 * @throws {AppError} what the server sent; `unavailable` when there is none, `timeout` at the limit
 */
export function callUnary<Req, Res>(call: UnaryCall<Req, Res>, request: Req, limits: CallLimits): Promise<Res> {
  return new Promise((resolve, reject) => {
    const pending = call(request, new Metadata(), { deadline: Date.now() + limits.timeoutMs }, (error, response) => {
      limits.signal?.removeEventListener('abort', cancel);
      if (error) reject(fromServiceError(error));
      else resolve(response);
    });
    const cancel = (): void => pending.cancel();
    if (limits.signal?.aborted) cancel();
    limits.signal?.addEventListener('abort', cancel, { once: true });
  });
}

/**
 * A server stream as an async iterable with backpressure; leaving the loop cancels the call. `timeoutMs` may be left out:
 * a watch has no end.
 *
 * @throws {AppError} as callUnary
 */
export async function* callStream<Req, Res>(
  call: StreamCall<Req, Res>,
  request: Req,
  limits: Partial<CallLimits> = {},
): AsyncGenerator<Res, void, undefined> {
  const stream = call(
    request,
    new Metadata(),
    limits.timeoutMs === undefined ? {} : { deadline: Date.now() + limits.timeoutMs },
  );
  const cancel = (): void => stream.cancel();
  if (limits.signal?.aborted) cancel();
  limits.signal?.addEventListener('abort', cancel, { once: true });
  try {
    for await (const message of stream) yield message as Res;
  } catch (error) {
    throw isServiceError(error) ? fromServiceError(error) : toAppError(error);
  } finally {
    limits.signal?.removeEventListener('abort', cancel);
    // Cancelling emits an error that nobody waits for any more.
    stream.on('error', () => undefined);
    stream.cancel();
  }
}

export function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && 'code' in error && 'details' in error && typeof error.code === 'number';
}
