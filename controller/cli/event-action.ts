import { EventServiceClient, type Event, type EventFilter } from '../../shared/gen/domherd/v1/event.js';
import { VmServiceClient } from '../../shared/gen/domherd/v1/vm.js';
import { callStream, callUnary } from '../../shared/grpc/client.js';
import { withClient } from './connection.js';
import { followEvents, newestEvents, printEvent, type WatchEvents } from './follow.js';
import { isTable } from './format.js';
import type { Invocation } from './invocation.js';
import { CALL } from './limit.js';
import { printRows, tell } from './output.js';
import { eventView } from './view/event-view.js';

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

export async function listEvents(call: Invocation, options: EventOptions): Promise<number> {
  const filter = await toFilter(call, options);
  const limit = options.limit ?? (options.follow ? LIMIT_BEFORE_FOLLOWING : LIMIT);
  const events = await newestEvents(call, filter, limit);
  if (!options.follow) {
    printEvents(call, events);
    return 0;
  }
  for (const event of events) printEvent(call, event);
  return followEvents(call, watchOf(call, filter), events.at(-1)?.id ?? 0n);
}

export function printEvents(call: Invocation, events: readonly Event[]): void {
  printRows(call, events, eventView(call.world.timeZone()));
  if (events.length === 0 && isTable(call.format)) tell(call, 'no events');
}

function watchOf(call: Invocation, filter: EventFilter): WatchEvents {
  return (afterEvent, signal, show) =>
    withClient(call, EventServiceClient, async (client) => {
      const request = { filter, afterEvent };
      for await (const { event } of callStream(client.watch.bind(client), request, { signal })) show(event);
    });
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
