import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { credentials, ServerCredentials, type Client } from '@grpc/grpc-js';
import { pino, type Logger } from 'pino';
import t, { type Test } from 'tap';
import type { Bidi, CallInfo, Stream, Unary, Upload } from '../../controller/adapters/grpc/call.js';
import { Gate } from '../../controller/adapters/grpc/gate.js';
import { Listener, type ServedService } from '../../controller/adapters/grpc/listener.js';
import { OpenCalls } from '../../controller/adapters/grpc/open-calls.js';
import type { Identify, Principal } from '../../controller/adapters/grpc/principal.js';
import { RateLimit } from '../../controller/adapters/grpc/rate-limit.js';
import { bindService } from '../../controller/adapters/grpc/serve.js';
import { judgeCall, METHOD_ROLES, ROLES, type Role } from '../../controller/domain/method-role.js';
import { AppError, invalid, type ErrorCode } from '../../shared/errors.js';
import { AgentServiceClient, AgentServiceService } from '../../shared/gen/domherd/v1/agent.js';
import type { TransferChunk } from '../../shared/gen/domherd/v1/transfer.js';
import {
  ControllerServiceClient,
  ControllerServiceService,
  GetInfoResponse,
} from '../../shared/gen/domherd/v1/controller.js';
import { EventServiceClient, EventServiceService, WatchEventsResponse } from '../../shared/gen/domherd/v1/event.js';
import { MacServiceClient, MacServiceService, type ClaimMacRequest } from '../../shared/gen/domherd/v1/mac.js';
import { callStream, callUnary } from '../../shared/grpc/client.js';
import { fromServiceError } from '../../shared/grpc/status.js';
import { ALL_METHODS, ALL_SERVICES, connect, statusOfCall } from '../fakes/grpc-client.js';

const LIMITS = { timeoutMs: 10_000 };
const WATCH = { filter: undefined, afterEvent: 0n };
const ADMIN: Principal = { role: 'admin', actor: 'admin:test', agentHost: undefined, certificate: undefined };

const AGENT: Principal = { ...ADMIN, role: 'agent', actor: 'agent:dom0-1', agentHost: 'dom0-1' };
const NOTHING: Unary<unknown, unknown> = () => ({});
const AGENT_REST = Object.fromEntries(Object.keys(AgentServiceService).map((name) => [name, NOTHING]));

interface World {
  readonly address: string;
  readonly calls: OpenCalls;
  readonly listener: Listener;
  readonly logged: Record<string, unknown>[];
}

interface WorldOptions {
  readonly identify?: Identify;
  readonly rate?: RateLimit;
  readonly maxStreams?: number;
  readonly maxMessageBytes?: number;
}

/** A listener on a unix socket with these services. */
async function serve(t: Test, services: readonly ServedService[], options: WorldOptions = {}): Promise<World> {
  // The name of a test makes a path that is too long for a socket.
  const folder = mkdtempSync(join(tmpdir(), 'domherd-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const logged: Record<string, unknown>[] = [];
  const log: Logger = pino(
    { level: 'debug' },
    { write: (line) => void logged.push(JSON.parse(line) as Record<string, unknown>) },
  );
  const calls = new OpenCalls(options.maxStreams ?? 100);
  const gate = new Gate({
    identify: options.identify ?? (() => ADMIN),
    calls,
    clock: { nowMs: () => Date.now() },
    rate: options.rate,
    log,
  });
  const address = `unix:${join(folder, 's')}`;
  const listener = new Listener({
    address,
    credentials: ServerCredentials.createInsecure(),
    gate,
    services,
    maxMessageBytes: options.maxMessageBytes ?? 1024 * 1024,
  });
  await listener.start();
  t.teardown(() => listener.stop(0));
  return { address, calls, listener, logged };
}

function closing<C extends Client>(t: Test, client: C): C {
  t.teardown(() => client.close());
  return client;
}

async function failureOf(work: Promise<unknown>): Promise<AppError> {
  try {
    await work;
  } catch (error) {
    if (error instanceof AppError) return error;
    throw error;
  }
  throw new Error('it did not fail');
}

/** `getInfo` of a service whose other methods do nothing. */
function controllerService(getInfo: Unary<unknown, unknown>): ServedService {
  const rest: Unary<unknown, unknown> = () => ({ conflicts: [] });
  const handlers = { getInfo, listConflicts: rest, issueCertificate: rest, revokeCertificate: rest };
  return { definition: ControllerServiceService, handlers };
}

function eventService(watch: Stream<unknown, unknown>): ServedService {
  return { definition: EventServiceService, handlers: { watch, list: () => ({ events: [] }) } };
}

const BIG_EVENT = WatchEventsResponse.fromPartial({ event: { kind: 'x'.repeat(64 * 1024) } });

const oneThenSilence: Stream<unknown, unknown> = async function* () {
  yield BIG_EVENT;
  await new Promise(() => undefined);
};

function macService(claim: Unary<ClaimMacRequest, unknown>): ServedService {
  const rest: Unary<unknown, unknown> = () => ({ macs: [] });
  return { definition: MacServiceService, handlers: { claim, list: rest, release: rest } };
}

t.test('who may call what: every method, for every role', async (t) => {
  // Behind the gate everything ends in the same way, which no refusal has.
  const passed = (): never => {
    throw new AppError('raced', 'let in');
  };
  const services = ALL_SERVICES.map((definition) => ({
    definition,
    handlers: Object.fromEntries(
      Object.entries(definition).map(([name, { responseStream }]) => [
        name,
        responseStream
          ? async function* () {
              await nextTurn();
              passed();
            }
          : passed,
      ]),
    ),
  }));
  let role: Role = 'none';
  const { address } = await serve(t, services, { identify: () => ({ ...ADMIN, role }) });
  const client = closing(t, connect(address));
  const EXPECTED = { allowed: 'ABORTED', unauthenticated: 'UNAUTHENTICATED', forbidden: 'PERMISSION_DENIED' };
  for (role of ROLES) {
    const seen = await Promise.all(
      ALL_METHODS.map(async (method) => [method.path, await statusOfCall(client, method)]),
    );
    const wanted = ALL_METHODS.map(({ path }) => [path, EXPECTED[judgeCall(path, role)]]);
    t.strictSame(seen, wanted, role);
  }
  t.equal(ALL_METHODS.length, Object.keys(METHOD_ROLES).length);
});

t.test('errors', async (t) => {
  let thrown: unknown;
  const { address, logged } = await serve(t, [
    controllerService(() => {
      throw thrown;
    }),
  ]);
  const client = closing(t, new ControllerServiceClient(address, credentials.createInsecure()));
  const call = (error: unknown): Promise<AppError> => {
    thrown = error;
    return failureOf(callUnary(client.getInfo.bind(client), {}, LIMITS));
  };

  t.test('an AppError comes out as it went in', async (t) => {
    const codes: ErrorCode[] = [
      'invalid',
      'not_found',
      'already_exists',
      'wrong_state',
      'raced',
      'exhausted',
      'unavailable',
    ];
    for (const code of [...codes, 'timeout', 'unauthenticated', 'forbidden'] as const) {
      const error = await call(new AppError(code, `Größe ${code}`, { hint: 'do "this" → that', address: '10.0.0.1' }));
      t.match(error, { code, message: `Größe ${code}`, details: { hint: 'do "this" → that', address: '10.0.0.1' } });
    }
  });

  t.test('anything else is a reference, and its text stays here', async (t) => {
    for (const error of [new Error('SECRET'), new AppError('internal', 'SECRET', { path: 'SECRET' }), 'SECRET']) {
      logged.length = 0;
      const seen = await call(error);
      t.equal(seen.code, 'internal');
      t.match(seen.message, /^internal error \(ref [0-9a-f]{8}\)$/);
      t.notMatch(JSON.stringify([seen.message, seen.details]), /SECRET/);
      const line = logged.find(({ msg }) => msg === 'call failed');
      t.match(JSON.stringify(line), /SECRET/, 'the log has it');
      t.ok(seen.message.includes(String(line?.['ref'])), 'under the same reference');
    }
  });
});

t.test('the caller', async (t) => {
  const seen: CallInfo[] = [];
  const claim: Unary<ClaimMacRequest, unknown> = (_, call) => {
    seen.push(call);
    return { mac: undefined };
  };
  const identify: Identify = () => ({ ...ADMIN, actor: 'admin:alice' });
  const { address } = await serve(t, [macService(claim)], { identify });
  const client = closing(t, new MacServiceClient(address, credentials.createInsecure()));
  const ask = async (requestId: string, mac: string): Promise<CallInfo | undefined> => {
    await callUnary(client.claim.bind(client), { requestId, mac, ownerName: 'x' }, LIMITS);
    return seen.at(-1);
  };
  const first = await ask('request-1', '00:16:3e:00:00:01');
  t.match(first?.caller, { actor: 'admin:alice', requestId: 'request-1' });
  t.equal(first?.agentHost, undefined);
  const same = await ask('request-2', '00:16:3e:00:00:01');
  t.equal(same?.caller.fingerprint, first?.caller.fingerprint, 'the id is no part of the fingerprint');
  const other = await ask('request-1', '00:16:3e:00:00:02');
  t.not(other?.caller.fingerprint, first?.caller.fingerprint, 'the rest is');
  t.match(await ask('', '00:16:3e:00:00:02'), { caller: { requestId: undefined } });
  t.equal((await failureOf(ask('x', ''))).code, 'invalid', 'a malformed id');
  t.ok(
    seen.every(({ signal }) => signal.aborted),
    'what a handler left running ends with its call',
  );
});

t.test('streams', (t) => {
  t.test('are made no faster than they are read', async (t) => {
    let made = 0;
    const total = 2_000;
    const { address } = await serve(t, [
      eventService(async function* () {
        for (; made < total; made += 1) {
          yield BIG_EVENT;
          await nextTurn();
        }
      }),
    ]);
    const client = closing(t, new EventServiceClient(address, credentials.createInsecure()));
    const call = client.watch(WATCH);
    const first = await new Promise((resolve) => call.once('readable', () => resolve(call.read())));
    t.ok(first);
    // Time for all of them, if nothing held them back.
    let before = -1;
    while (before !== made) {
      before = made;
      for (let turn = 0; turn < 200; turn += 1) await nextTurn();
    }
    t.ok(made < total / 4, `${String(made)} of ${String(total)} were made for a reader that read one`);
    let read = 1;
    call.on('data', () => (read += 1));
    await new Promise((resolve) => call.on('end', resolve));
    t.equal(read, total, 'all of them came in the end');
  });

  t.test('end their generator when the client is gone', async (t) => {
    let ended = (): void => undefined;
    const isEnded = new Promise<void>((resolve) => (ended = resolve));
    const { address } = await serve(t, [
      eventService(async function* (_, { signal }) {
        try {
          for (;;) {
            yield BIG_EVENT;
            await nextTurn();
            if (signal.aborted) t.pass('it is told');
          }
        } finally {
          ended();
        }
      }),
    ]);
    const client = closing(t, new EventServiceClient(address, credentials.createInsecure()));
    for await (const event of callStream(client.watch.bind(client), WATCH)) {
      t.ok(event);
      break;
    }
    await isEnded;
    t.pass('and its finally runs');
  });

  t.test('are cut at once, also when their handler waits for ever', async (t) => {
    const serial = 'ab12';
    const { address, calls } = await serve(
      t,
      [eventService(oneThenSilence), controllerService(() => new Promise(() => undefined))],
      { identify: () => ({ ...ADMIN, certificate: { serial, expiresAtMs: Date.now() + 60_000 } }) },
    );
    const events = closing(t, new EventServiceClient(address, credentials.createInsecure()));
    const controller = closing(t, new ControllerServiceClient(address, credentials.createInsecure()));
    const hung = failureOf(callUnary(controller.getInfo.bind(controller), {}, LIMITS));
    const stream = callStream(events.watch.bind(events), WATCH, LIMITS);
    await stream.next();
    calls.cut(['other'], new AppError('unauthenticated', 'not this one'));
    const rest = failureOf(stream.next());
    calls.cut([serial], new AppError('unauthenticated', 'The certificate was revoked'));
    t.match(await rest, { code: 'unauthenticated', message: 'The certificate was revoked' });
    t.match(await hung, { code: 'unauthenticated' });
  });

  t.test('end with the certificate that they were opened with', async (t) => {
    const { address } = await serve(t, [eventService(oneThenSilence)], {
      identify: () => ({ ...ADMIN, certificate: { serial: 'ab', expiresAtMs: Date.now() + 50 } }),
    });
    const client = closing(t, new EventServiceClient(address, credentials.createInsecure()));
    const stream = callStream(client.watch.bind(client), WATCH, LIMITS);
    await stream.next();
    t.match(await failureOf(stream.next()), { code: 'unauthenticated' });
  });

  t.test('of one client are bounded, and ended ones do not count', async (t) => {
    const { address } = await serve(
      t,
      [
        eventService(async function* (_, { signal }) {
          yield BIG_EVENT;
          await new Promise((resolve) => signal.addEventListener('abort', resolve));
        }),
      ],
      { maxStreams: 2 },
    );
    const client = closing(t, new EventServiceClient(address, credentials.createInsecure()));
    const open = async (): Promise<AsyncGenerator> => {
      const stream = callStream(client.watch.bind(client), WATCH, LIMITS);
      await stream.next();
      return stream;
    };
    const first = await open();
    await open();
    t.equal((await failureOf(open())).code, 'exhausted');
    await first.return(undefined);
    // The server hears of it a little later.
    let again = await failureOf(open()).catch(() => undefined);
    while (again?.code === 'exhausted') again = await failureOf(open()).catch(() => undefined);
    t.equal(again, undefined);
  });
  t.end();
});

t.test('both ways', async (t) => {
  const session: Bidi<unknown, unknown> = async function* (requests) {
    let count = 0;
    for await (const request of requests) {
      count += 1;
      t.ok(request);
      yield { message: { $case: 'cancel', value: { orderId: `message ${String(count)}` } } };
      if (count === 3) throw invalid('three are enough');
    }
    yield { message: { $case: 'cancel', value: { orderId: `all ${String(count)}` } } };
  };
  const { address } = await serve(t, [{ definition: AgentServiceService, handlers: { ...AGENT_REST, session } }], {
    identify: () => AGENT,
  });
  const client = closing(t, new AgentServiceClient(address, credentials.createInsecure()));
  const talk = async (messages: number): Promise<{ answers: string[]; error: string | undefined }> => {
    const call = client.session();
    const answers: string[] = [];
    call.on('data', ({ message }: { message?: { value?: { orderId?: string } } }) =>
      answers.push(message?.value?.orderId ?? ''),
    );
    for (let n = 0; n < messages; n += 1) call.write({ message: undefined });
    if (messages < 3) call.end();
    return new Promise((resolve) => {
      call.on('error', (error) => resolve({ answers, error: fromServiceError(error as never).code }));
      call.on('end', () => resolve({ answers, error: undefined }));
    });
  };
  t.strictSame(
    await talk(2),
    { answers: ['message 1', 'message 2', 'all 2'], error: undefined },
    'what comes after the last message',
  );
  t.match(await talk(3), { error: 'invalid' });
});

t.test('many messages, one answer', async (t) => {
  const received: string[] = [];
  const send: Upload<TransferChunk, unknown> = async (chunks) => {
    for await (const { chunk } of chunks) {
      if (chunk?.$case !== 'head') throw invalid('only heads are heard');
      received.push(chunk.value.transferId);
    }
    return {};
  };
  const { address } = await serve(t, [{ definition: AgentServiceService, handlers: { ...AGENT_REST, send } }], {
    identify: () => AGENT,
  });
  const client = closing(t, new AgentServiceClient(address, credentials.createInsecure()));
  const upload = (ids: readonly string[], hasEnd = true): Promise<string> =>
    new Promise((resolve) => {
      const call = client.send((error) => resolve(error ? fromServiceError(error).code : 'done'));
      for (const id of ids) {
        const head = { transferId: id, files: [], cfg: Buffer.alloc(0) };
        call.write({ chunk: id === '' ? undefined : { $case: 'head', value: head } });
      }
      if (hasEnd) call.end();
    });
  t.equal(await upload(['a', 'b']), 'done');
  t.equal(await upload([]), 'done', 'none at all');
  t.equal(await upload(['c', ''], false), 'invalid', 'it is answered before the client has ended');
  t.strictSame(received, ['a', 'b', 'c']);
});

t.test('limits', (t) => {
  t.test('a message that is too big is refused before it is read', async (t) => {
    const { address } = await serve(t, [macService(() => ({ mac: undefined }))], { maxMessageBytes: 1_000 });
    const client = closing(t, new MacServiceClient(address, credentials.createInsecure()));
    const ask = (bytes: number): Promise<unknown> =>
      callUnary(client.claim.bind(client), { requestId: '', mac: 'x'.repeat(bytes), ownerName: 'x' }, LIMITS);
    t.ok(await ask(900));
    t.equal((await failureOf(ask(1_100))).code, 'exhausted');
  });

  t.test('who asks too often is told when to come back', async (t) => {
    let nowMs = 0;
    const rate = new RateLimit({ perSecond: 10, burst: 3 }, () => nowMs);
    let actor = 'admin:a';
    const { address } = await serve(t, [controllerService(() => ({}))], {
      rate,
      identify: () => ({ ...ADMIN, actor }),
    });
    const client = closing(t, new ControllerServiceClient(address, credentials.createInsecure()));
    const ask = (): Promise<unknown> => callUnary(client.listConflicts.bind(client), {}, LIMITS);
    for (let n = 0; n < 3; n += 1) await ask();
    t.match(await failureOf(ask()), { code: 'unavailable', details: { retryAfterMs: '100' } });
    actor = 'admin:b';
    t.ok(await ask(), 'another client is not concerned');
    actor = 'admin:a';
    nowMs += 100;
    t.ok(await ask());
  });
  t.end();
});

t.test('stopping', async (t) => {
  let answer: (value: unknown) => void = () => undefined;
  const { address, calls, listener } = await serve(t, [
    controllerService(() => new Promise((resolve) => (answer = resolve))),
    eventService(oneThenSilence),
  ]);
  const events = closing(t, new EventServiceClient(address, credentials.createInsecure()));
  const controller = closing(t, new ControllerServiceClient(address, credentials.createInsecure()));
  const stream = callStream(events.watch.bind(events), WATCH, LIMITS);
  await stream.next();
  const running = callUnary(controller.getInfo.bind(controller), {}, LIMITS);
  // On the same connection, so that the first has arrived when this one is answered.
  await callUnary(controller.listConflicts.bind(controller), {}, LIMITS);

  const stopped = listener.stop(10_000);
  calls.endStreams(new AppError('unavailable', 'The controller is stopping'));
  t.match(await failureOf(stream.next()), { code: 'unavailable' }, 'a stream ends');
  answer(GetInfoResponse.fromPartial({ version: '1' }));
  t.match(await running, { version: '1' }, 'a call that runs is answered');
  await stopped;
  t.equal((await failureOf(callUnary(controller.getInfo.bind(controller), {}, LIMITS))).code, 'unavailable');
});

t.test('a service with a method that nobody answers is not served', (t) => {
  const gate = new Gate({
    identify: () => ADMIN,
    calls: new OpenCalls(1),
    clock: { nowMs: () => 0 },
    rate: undefined,
    log: pino({ level: 'silent' }),
  });
  t.throws(() => bindService(ControllerServiceService, { getInfo: () => ({}) }, gate), { code: 'internal' });
  t.end();
});
