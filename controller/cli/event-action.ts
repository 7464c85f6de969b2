import { AppError } from '../../shared/errors.js';
import { EventServiceClient, type Event, type EventFilter } from '../../shared/gen/domherd/v1/event.js';
import { VmServiceClient } from '../../shared/gen/domherd/v1/vm.js';
import { callStream, callUnary } from '../../shared/grpc/client.js';
import { withClient } from './connection.js';
import type { Invocation } from './invocation.js';
import { CALL } from './limit.js';
import { printRows, tell } from './output.js';
import { eventJson, eventLine, eventView } from './view/event-view.js';

export interface EventOptions {
  readonly follow?: boolean;
  readonly host?: string;
  readonly vm?: string;
  readonly kind?: readonly string[];
  readonly address?: string;
  readonly reservation?: string;
  readonly limit?: number;
}

const LIMIT = 100;
const LIMIT_BEFORE_FOLLOWING = 10;
const RECONNECT_MS = 1_000;

export async function listEvents(call: Invocation, options: EventOptions): Promise<number> {
  const filter = await toFilter(call, options);
  const limit = options.limit ?? (options.follow ? LIMIT_BEFORE_FOLLOWING : LIMIT);
  const { events } = await withClient(call, EventServiceClient, (client) =>
    callUnary(client.list.bind(client), { filter, afterEvent: 0n, limit }, CALL),
  );
  if (!options.follow) {
    printRows(call, events, eventView(call.world.timeZone()));
    return 0;
  }
  for (const event of events) printEvent(call, event);
  return follow(call, filter, events.at(-1)?.id ?? 0n);
}

async function toFilter(call: Invocation, options: EventOptions): Promise<EventFilter> {
  return {
    kinds: [...(options.kind ?? [])],
    host: options.host ?? '',
    reservation: options.reservation ?? '',
    address: options.address ?? '',
    mac: '',
    vmId: options.vm === undefined ? 0 : await findVmId(call, options.vm),
  };
}

/** @throws {AppError} `not_found`, or `invalid` for a name that several hosts have */
export async function findVmId(call: Invocation, name: string): Promise<number> {
  const { vm } = await withClient(call, VmServiceClient, (client) =>
    callUnary(client.get.bind(client), { name }, CALL),
  );
  return vm?.id ?? 0;
}

/** Until Ctrl-C; a dropped connection is taken up after the last event that was shown. */
async function follow(call: Invocation, filter: EventFilter, after: bigint): Promise<number> {
  const { signal } = call.world;
  let last = after;
  for (;;) {
    try {
      await withClient(call, EventServiceClient, async (client) => {
        const request = { filter, afterEvent: last };
        for await (const { event } of callStream(client.watch.bind(client), request, { signal })) {
          if (event === undefined) continue;
          printEvent(call, event);
          last = event.id;
        }
      });
    } catch (error) {
      if (signal.aborted) throw error;
      if (!(error instanceof AppError) || !['unavailable', 'exhausted'].includes(error.code)) throw error;
      tell(call, `${error.message}; trying again`);
      await call.world.pause(RECONNECT_MS, signal);
    }
  }
}

/** One line an event; JSON likewise, one object a line. */
function printEvent(call: Invocation, event: Event): void {
  const text = call.format === 'json' ? JSON.stringify(eventJson(event)) : eventLine(event, call.world.timeZone());
  call.world.stdout.write(`${text}\n`);
}
