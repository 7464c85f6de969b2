import type {
  AgentMessage,
  AgentServiceServer,
  ControllerMessage,
  Hello as WireHello,
} from '../../../shared/gen/domherd/v1/agent.js';
import { AppError, invalid } from '../../../shared/errors.js';
import { VERSION } from '../../../shared/version.js';
import type { AgentLink } from '../../ports/agent-link.js';
import type { Clock } from '../../ports/environment.js';
import type { Timers } from '../../ports/timer.js';
import type { Fleet } from '../../services/fleet.js';
import type { SessionHandle } from '../../services/host-session.js';
import type { Bidi, CallInfo, Handlers } from './call.js';
import { timestampFromMs } from './convert.js';
import { bridgesFrom } from './convert-bridge.js';
import { storesFrom } from './convert-store.js';
import { helloFrom, reportFrom } from './convert-host.js';
import { fullStateFrom, heartbeatFrom, keyFrom, observedVmsFrom, textFrom } from './convert-observation.js';
import { orderToWire, outcomeFrom, vifLeaseToWire } from './convert-order.js';
import { Outbox } from './outbox.js';
import { within } from './within.js';

export interface SessionOptions {
  readonly fleet: Fleet;
  readonly clock: Clock;
  readonly timers: Timers;
  /** Milliseconds between heartbeats, 100 to 60,000; 10,000 unless told. */
  readonly heartbeatMs?: number | undefined;
}

/** A connection that says nothing is no agent. */
const HELLO_MS = 10_000;
/** Orders in flight are 64, so a host behind by this much does not read. */
const MAX_OUTGOING = 512;

/** AgentService.Session: the stream of one host. Who it is says the certificate, never a message. */
export function sessionHandlers(options: SessionOptions): Pick<Handlers<AgentServiceServer>, 'session'> {
  const session: Bidi<AgentMessage, ControllerMessage> = (requests, call) => runSession(options, requests, call);
  return { session };
}

async function* runSession(
  options: SessionOptions,
  requests: AsyncIterable<AgentMessage>,
  call: CallInfo,
): AsyncGenerator<ControllerMessage, void, undefined> {
  const hostName = call.agentHost;
  if (hostName === undefined) throw new AppError('forbidden', 'a session is for agents only');
  const messages = requests[Symbol.asyncIterator]();
  const outbox = new Outbox<ControllerMessage>(MAX_OUTGOING);
  const onAbort = (): void => outbox.close();
  call.signal.addEventListener('abort', onAbort, { once: true });
  let session: SessionHandle | undefined;
  try {
    const hello = await readHello(messages, options.timers);
    // Before connect: orders that wait for this host are sent at once, and welcome comes first.
    outbox.push(welcome(options));
    session = await options.fleet.connect(options.fleet.host(hostName).host.id, helloFrom(hello), linkOf(outbox));
    if (call.signal.aborted) return;
    void pump(messages, session, outbox);
    yield* outbox.read();
  } finally {
    call.signal.removeEventListener('abort', onAbort);
    session?.closed();
    // An iterator that waits for the next message takes its end only after that message.
    void messages.return?.().catch(() => undefined);
  }
}

async function readHello(messages: AsyncIterator<AgentMessage>, timers: Timers): Promise<WireHello> {
  const first = await within(timers, HELLO_MS, messages.next(), 'hello');
  const message = first.done === true ? undefined : first.value.message;
  if (message?.$case === 'hello') return message.value;
  throw invalid('message is not hello, with which a session begins', { field: 'message' });
}

function welcome({ clock, heartbeatMs }: SessionOptions): ControllerMessage {
  const now = timestampFromMs(clock.nowMs());
  const value = { heartbeatMs: heartbeatMs ?? 10_000, controllerVersion: VERSION, now };
  return { message: { $case: 'welcome', value } };
}

function linkOf(outbox: Outbox<ControllerMessage>): AgentLink {
  const send = (message: ControllerMessage): void => {
    if (!outbox.push(message)) outbox.fail(new AppError('unavailable', 'the agent reads too slowly'));
  };
  return {
    sendOrder: (order) => send({ message: { $case: 'order', value: orderToWire(order) } }),
    cancelOrder: (orderId) => send({ message: { $case: 'cancel', value: { orderId } } }),
    sendLeases: (leases) => send({ message: { $case: 'leases', value: { leases: leases.map(vifLeaseToWire) } } }),
    close: (code, reason) => outbox.fail(new AppError(code, reason)),
  };
}

/** Hands on what the host says, one after the other: the stream's flow control is what keeps a chatty host in bounds. */
async function pump(
  messages: AsyncIterator<AgentMessage>,
  session: SessionHandle,
  outbox: Outbox<ControllerMessage>,
): Promise<void> {
  try {
    for (let next = await messages.next(); next.done !== true; next = await messages.next()) {
      await receive(next.value, session);
    }
    outbox.close();
  } catch (error) {
    outbox.fail(error);
  }
}

async function receive({ message }: AgentMessage, session: SessionHandle): Promise<void> {
  switch (message?.$case) {
    case 'fullState':
      return session.fullState(
        fullStateFrom(message.value),
        bridgesFrom(message.value.bridges, 'full_state.bridges'),
        storesFrom(message.value.stores, 'full_state.stores'),
      );
    case 'change': {
      const { changed, gone } = message.value;
      const bridges = bridgesFrom(message.value.bridges, 'change.bridges');
      if (bridges) session.bridges(bridges);
      const stores = storesFrom(message.value.stores, 'change.stores');
      if (stores) session.stores(stores);
      return session.change(observedVmsFrom(changed, 'change.changed'), gone);
    }
    case 'heartbeat':
      return session.heartbeat(heartbeatFrom(message.value));
    case 'progress': {
      const { orderId, message: text, percent } = message.value;
      return session.progress(orderId, { message: textFrom(text) ?? '', percent: percent && Math.min(percent, 100) });
    }
    case 'result':
      return session.result(keyFrom(message.value.orderId, 'result.order_id'), outcomeFrom(message.value));
    case 'event':
      return session.event(reportFrom(message.value));
    case 'hello':
      throw invalid('hello came twice', { field: 'message' });
    case undefined:
      // A kind of message that came with a later minor of the protocol.
      return;
  }
}
