import { createHash } from 'node:crypto';
import { once, type EventEmitter } from 'node:events';
import type {
  MethodDefinition,
  sendUnaryData,
  ServerDuplexStream,
  ServerReadableStream,
  ServerUnaryCall,
  ServerWritableStream,
  ServiceDefinition,
  UntypedHandleCall,
  UntypedServiceImplementation,
} from '@grpc/grpc-js';
import type { Logger } from 'pino';
import { AppError } from '../../../shared/errors.js';
import { parseRequestId } from '../../domain/request-id.js';
import { orAborted } from './abort.js';
import type { Bidi, CallInfo, Stream, Unary, Upload } from './call.js';
import { failureStatus } from './failure.js';
import type { Gate } from './gate.js';
import type { Principal } from './principal.js';

/**
 * The frame around handlers.
 *
 * Invariants:
 * - Nothing of a handler runs before the gate let the call in.
 * - 'error' and 'cancelled' of every call are heard: an unheard 'error' ends the process (grpc-node#290).
 * - A call that is cut is answered at once, whatever its handler does.
 * - Answers are serialized here: grpc-js would tell neither the client nor the log why one cannot be.
 */

type AnyMethod = MethodDefinition<unknown, unknown>;
type UnaryCall = ServerUnaryCall<unknown, unknown>;
type StreamCall = ServerWritableStream<unknown, unknown>;
type BidiCall = ServerDuplexStream<unknown, unknown>;
type UploadCall = ServerReadableStream<unknown, unknown>;
type AnyCall = UnaryCall | StreamCall | BidiCall | UploadCall;

/** A service's handlers by method name: what `Handlers<...>` in call.ts comes to. Methods of a class do not do. */
export type HandlerTable = Readonly<Record<string, (request: never, call: CallInfo) => unknown>>;

/**
 * What `Server.addService` takes, made of plain handlers.
 *
 * @throws {AppError} `internal` if a method has no handler
 */
export function bindService(
  definition: ServiceDefinition,
  handlers: HandlerTable,
  gate: Gate,
): UntypedServiceImplementation {
  const bound = Object.entries(definition).map(([name, method]) => {
    const handler = handlers[name];
    if (handler === undefined) throw new AppError('internal', `${method.path} has no handler`);
    return [name, bindMethod(method, handler, gate)] as const;
  });
  return Object.fromEntries(bound);
}

/** The definition that belongs to what {@link bindService} makes: what is sent comes as bytes. */
export function servedDefinition(definition: ServiceDefinition): ServiceDefinition {
  const asIs = (bytes: Buffer): Buffer => bytes;
  const served = Object.entries(definition).map(([name, method]) => [name, { ...method, responseSerialize: asIs }]);
  return Object.fromEntries(served) as ServiceDefinition;
}

function bindMethod(method: AnyMethod, handler: unknown, gate: Gate): UntypedHandleCall {
  // Definition and handlers come from one generated service, so the flags tell the handler's shape.
  if (method.requestStream && !method.responseStream) {
    return bindUpload(method, handler as Upload<unknown, unknown>, gate);
  }
  if (method.requestStream) return bindBidi(method, handler as Bidi<unknown, unknown>, gate);
  if (method.responseStream) return bindStream(method, handler as Stream<unknown, unknown>, gate);
  return bindUnary(method, handler as Unary<unknown, unknown>, gate);
}

function bindUnary(method: AnyMethod, handle: Unary<unknown, unknown>, gate: Gate) {
  return (call: UnaryCall, respond: sendUnaryData<unknown>): void =>
    answer(call, method, call.request, gate, respond, (info) => Promise.resolve(handle(call.request, info)));
}

function bindUpload(method: AnyMethod, handle: Upload<unknown, unknown>, gate: Gate) {
  return (call: UploadCall, respond: sendUnaryData<unknown>): void =>
    answer(call, method, undefined, gate, respond, (info) => handle(receive(call, info.signal), info));
}

function answer(
  call: UnaryCall | UploadCall,
  method: AnyMethod,
  request: unknown,
  gate: Gate,
  respond: sendUnaryData<unknown>,
  work: (info: CallInfo) => Promise<unknown>,
): void {
  // Answered after the call was released: a client that has its answer is not counted any more.
  void frame(call, method, request, gate, async (info) =>
    method.responseSerialize(await orAborted(work(info), info.signal)),
  ).then(
    (response) => respond(null, response),
    (error: unknown) => respond(failureStatus(error, gate.log.child({ method: method.path }))),
  );
}

function bindStream(method: AnyMethod, handle: Stream<unknown, unknown>, gate: Gate) {
  return (call: StreamCall): void =>
    stream(call, method, call.request, gate, (info) => send(handle(call.request, info), method, call, info.signal));
}

function bindBidi(method: AnyMethod, handle: Bidi<unknown, unknown>, gate: Gate) {
  return (call: BidiCall): void =>
    stream(call, method, undefined, gate, (info) =>
      send(handle(receive(call, info.signal), info), method, call, info.signal),
    );
}

function stream(
  call: StreamCall | BidiCall,
  method: AnyMethod,
  request: unknown,
  gate: Gate,
  work: (info: CallInfo) => Promise<void>,
): void {
  void frame(call, method, request, gate, work).then(
    () => call.end(),
    // grpc-js ends a stream with the status of the 'error' that is emitted on it.
    (error: unknown) => call.emit('error', failureStatus(error, gate.log.child({ method: method.path }))),
  );
}

const OVER = new AppError('unavailable', 'The call is over');

/** Lets a call in, and runs it with an end that others can bring about. */
async function frame<T>(
  call: AnyCall,
  method: AnyMethod,
  request: unknown,
  gate: Gate,
  work: (info: CallInfo) => Promise<T>,
): Promise<T> {
  const abort = new AbortController();
  const gone = (): void => abort.abort(new AppError('unavailable', 'The client is gone'));
  const events: EventEmitter = call;
  events.on('cancelled', gone);
  events.on('error', gone);
  if (call.cancelled) gone();
  const admission = gate.admit(call, method, abort);
  try {
    return await work(infoOf(method, request, admission.principal, gate.log, abort.signal));
  } finally {
    admission.release();
    // Whatever the handler left running ends with its call.
    abort.abort(OVER);
  }
}

function infoOf(
  method: AnyMethod,
  request: unknown,
  { actor, agentHost }: Principal,
  log: Logger,
  signal: AbortSignal,
): CallInfo {
  const requestId = parseRequestId(requestIdIn(request) ?? '');
  return {
    caller: { actor, requestId, fingerprint: requestId === undefined ? '' : fingerprintOf(method, request) },
    agentHost,
    log: log.child({ method: method.path, actor, ...(requestId !== undefined && { requestId }) }),
    signal,
  };
}

function requestIdIn(request: unknown): string | undefined {
  if (typeof request !== 'object' || request === null || !('requestId' in request)) return undefined;
  return typeof request.requestId === 'string' ? request.requestId : undefined;
}

/** Method and content without the id. */
function fingerprintOf(method: AnyMethod, request: unknown): string {
  const content = method.requestSerialize({ ...(request as object), requestId: '' });
  return `${method.path} ${createHash('sha256').update(content).digest('base64url')}`;
}

/** Sends what is yielded, no faster than the client reads. */
async function send(
  messages: AsyncIterable<unknown>,
  method: AnyMethod,
  call: StreamCall | BidiCall,
  signal: AbortSignal,
): Promise<void> {
  const iterator = messages[Symbol.asyncIterator]();
  try {
    for (;;) {
      const next = await orAborted(iterator.next(), signal);
      if (next.done === true) return;
      if (!call.write(method.responseSerialize(next.value))) await orAborted(once(call, 'drain', { signal }), signal);
    }
  } finally {
    // Not awaited: a generator that is stuck in an await of its own ends by the signal, if ever.
    void Promise.resolve(iterator.return?.()).catch(() => undefined);
  }
}

/** What the client sends. Ends when it has sent all; throws the signal's reason when the call is cut. */
async function* receive(call: BidiCall | UploadCall, signal: AbortSignal): AsyncGenerator<unknown, void, undefined> {
  // A handler that stops reading still has something to say: destroying the stream would take that from it.
  const iterator = call.iterator({ destroyOnReturn: false }) as AsyncIterator<unknown>;
  for (;;) {
    const next = await orAborted(iterator.next(), signal);
    if (next.done === true) return;
    yield next.value;
  }
}
