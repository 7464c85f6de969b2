import { isPattern } from '../../shared/domain/name-pattern.js';
import { EventServiceClient, type Event, type EventFilter } from '../../shared/gen/domherd/v1/event.js';
import { ReservationServiceClient } from '../../shared/gen/domherd/v1/reservation.js';
import { VmServiceClient } from '../../shared/gen/domherd/v1/vm.js';
import { callStream, callUnary } from '../../shared/grpc/client.js';
import { withClient } from './connection.js';
import { ANY_EVENT, followEvents, newestEvents, printEvent, type WatchEvents } from './follow.js';
import { isTable } from './format.js';
import { expandHosts, pickHosts, readHosts } from './host-selection.js';
import type { Invocation } from './invocation.js';
import { CALL } from './limit.js';
import { printRows, tell } from './output.js';
import { eventView } from './view/event-view.js';

export interface EventOptions {
  readonly follow?: boolean;
  readonly host?: readonly string[];
  readonly vm?: readonly string[];
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
  if (events.length === 0) await expectKnown(call, options);
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
    host: '',
    reservation: options.reservation ?? '',
    address: options.address ?? '',
    mac: '',
    vmId: 0,
    hosts: [...(await expandHosts(call, options.host ?? []))],
    vmIds: options.vm === undefined ? [] : await findVmIds(call, options.vm),
  };
}

/**
 * History has hosts and reservations that are there no more; what neither is there nor ever was is a typing error.
 *
 * @throws {AppError} `not_found`
 */
async function expectKnown(call: Invocation, { host = [], reservation }: EventOptions): Promise<void> {
  for (const name of host.filter((each) => !isPattern(each))) {
    const [event] = await newestEvents(call, { ...ANY_EVENT, hosts: [name] }, 1);
    if (event === undefined) pickHosts(await readHosts(call), [name]);
  }
  if (reservation === undefined) return;
  const [event] = await newestEvents(call, { ...ANY_EVENT, reservation }, 1);
  if (event === undefined) await expectReservation(call, reservation);
}

async function expectReservation(call: Invocation, name: string): Promise<void> {
  await withClient(call, ReservationServiceClient, (client) => callUnary(client.get.bind(client), { name }, CALL));
}

/** @throws {AppError} as VMs are selected */
async function findVmIds(call: Invocation, names: readonly string[]): Promise<number[]> {
  const selector = { names: [...names], all: false };
  const { vms } = await withClient(call, VmServiceClient, (client) =>
    callUnary(client.list.bind(client), { selector }, CALL),
  );
  return vms.map(({ id }) => id);
}

/** @throws {AppError} `not_found`, or `invalid` for a name that several hosts have */
export async function findVmId(call: Invocation, name: string): Promise<number> {
  const { vm } = await withClient(call, VmServiceClient, (client) =>
    callUnary(client.get.bind(client), { name, look: false }, CALL),
  );
  return vm?.id ?? 0;
}
