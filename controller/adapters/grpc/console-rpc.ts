import type { AgentServiceServer } from '../../../shared/gen/domherd/v1/agent.js';
import type {
  AgentConsoleMessage,
  ConsoleRequest,
  ConsoleResponse,
  ConsoleWriter as WireWriter,
  ControllerConsoleMessage,
} from '../../../shared/gen/domherd/v1/console.js';
import type { VmServiceServer } from '../../../shared/gen/domherd/v1/vm.js';
import { AppError, invalid } from '../../../shared/errors.js';
import type { Timers } from '../../ports/timer.js';
import type {
  AttachRequest,
  ConsoleEvent,
  ConsoleHub,
  ConsoleSeat,
  ConsoleWriter,
} from '../../services/console-hub.js';
import type { HostEnd, HostStreams } from '../../services/host-streams.js';
import type { CallInfo, Handlers } from './call.js';
import { integerFrom, missing } from './convert.js';
import { textFrom } from './convert-observation.js';
import { within } from './within.js';

/** A connection that says nothing is nobody's. */
const FIRST_MS = 10_000;
const MAX_TYPED_BYTES = 65_536;
const LOG_LINES = 1_000;

/** VmService.Console and ReadConsoleLog: what people ask. */
export function consoleHandlers(
  hub: ConsoleHub,
  timers: Timers,
): Pick<Handlers<VmServiceServer>, 'console' | 'readConsoleLog'> {
  return {
    console: (requests, call) => runConsole(hub, timers, requests, call),
    readConsoleLog: ({ name, lines, follow }, { signal }) => {
      if (name === '') throw missing('name');
      const tail = { lines: integerFrom(lines || LOG_LINES, 'lines', 1, 100_000), isFollowed: follow };
      return readLog(hub.readLog(name, tail, signal));
    },
  };
}

/** AgentService.Console: what hosts answer. Who it is says the certificate. */
export function hostConsoleHandlers(
  streams: HostStreams,
  timers: Timers,
): Pick<Handlers<AgentServiceServer>, 'console'> {
  return { console: (requests, call) => runHostConsole(streams, timers, requests, call) };
}

async function* runConsole(
  hub: ConsoleHub,
  timers: Timers,
  requests: AsyncIterable<ConsoleRequest>,
  { caller, signal }: CallInfo,
): AsyncGenerator<ConsoleResponse, void, undefined> {
  const messages = requests[Symbol.asyncIterator]();
  const first = await within(timers, FIRST_MS, messages.next(), 'attach');
  const seat = await hub.attach(attachFrom(first), caller, signal);
  try {
    void takeTyped(messages, seat);
    for await (const event of seat.events()) yield eventToWire(event);
  } finally {
    seat.leave();
    void messages.return?.().catch(() => undefined);
  }
}

function attachFrom(first: IteratorResult<ConsoleRequest>): AttachRequest {
  const message = first.done === true ? undefined : first.value.message;
  if (message?.$case !== 'attach') throw invalid('message is not attach, with which a console begins');
  if (message.value.name === '') throw missing('attach.name');
  return { name: message.value.name, isWatching: message.value.watch };
}

/** No faster than the guest takes it. */
async function takeTyped(messages: AsyncIterator<ConsoleRequest>, seat: ConsoleSeat): Promise<void> {
  try {
    for (let next = await messages.next(); next.done !== true; next = await messages.next()) {
      const { message } = next.value;
      if (message?.$case !== 'typed') throw invalid('attach came twice', { field: 'message' });
      if (message.value.length > MAX_TYPED_BYTES) throw invalid('typed is too long', { field: 'typed' });
      await seat.type(message.value);
    }
  } catch (error) {
    seat.close(error);
  }
}

async function* readLog(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<{ readonly text: Buffer }, void, undefined> {
  for await (const piece of pieces) yield { text: bufferOf(piece) };
}

function eventToWire(event: ConsoleEvent): ConsoleResponse {
  switch (event.kind) {
    case 'attached': {
      const { vm, isSimulated: simulated, writer, note } = event;
      return { message: { $case: 'attached', value: { vm, simulated, note, writer: writerToWire(writer) } } };
    }
    case 'output':
      return { message: { $case: 'output', value: bufferOf(event.bytes) } };
    case 'writer':
      return { message: { $case: 'writer', value: writerToWire(event.writer) } };
    case 'ended':
      return { message: { $case: 'ended', value: { reason: event.reason } } };
  }
}

function writerToWire({ actor = '', isYou }: ConsoleWriter): WireWriter {
  return { actor, isYou };
}

async function* runHostConsole(
  streams: HostStreams,
  timers: Timers,
  requests: AsyncIterable<AgentConsoleMessage>,
  { agentHost, signal }: CallInfo,
): AsyncGenerator<ControllerConsoleMessage, void, undefined> {
  if (agentHost === undefined) throw new AppError('forbidden', 'a console is handed on by agents only');
  const messages = requests[Symbol.asyncIterator]();
  const first = await within(timers, FIRST_MS, messages.next(), 'opened');
  const message = first.done === true ? undefined : first.value.message;
  if (message?.$case !== 'opened') throw invalid('message is not opened, with which a console begins');
  const host = streams.claim(agentHost, message.value.consoleId, textFrom(message.value.note) ?? '');
  const cut = (): void => host.cut(new AppError('unavailable', `host ${agentHost} is gone`));
  signal.addEventListener('abort', cut, { once: true });
  if (signal.aborted) cut();
  try {
    void takeOutput(messages, host, cut);
    for await (const typed of host.typed) yield { typed: bufferOf(typed) };
  } finally {
    signal.removeEventListener('abort', cut);
    cut();
    void messages.return?.().catch(() => undefined);
  }
}

async function takeOutput(messages: AsyncIterator<AgentConsoleMessage>, host: HostEnd, cut: () => void): Promise<void> {
  try {
    for (let next = await messages.next(); next.done !== true; next = await messages.next()) {
      const { message } = next.value;
      if (message?.$case === 'ended') return host.ended(message.value);
      if (message?.$case === 'output' && !(await host.push(message.value))) return;
    }
    cut();
  } catch {
    cut();
  }
}

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
