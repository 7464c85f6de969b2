import { AppError } from '../../shared/errors.js';
import { EventServiceClient, type Event, type EventFilter } from '../../shared/gen/domherd/v1/event.js';
import { callUnary } from '../../shared/grpc/client.js';
import { withClient } from './connection.js';
import type { Invocation } from './invocation.js';
import { CALL } from './limit.js';
import { tell } from './output.js';
import { eventJson, eventLine } from './view/event-view.js';

/** One connection: hands on each event after `afterEvent`, until it breaks or the signal ends it. */
export type WatchEvents = (
  afterEvent: bigint,
  signal: AbortSignal,
  show: (event: Event | undefined) => void,
) => Promise<void>;

/** A filter that everything passes. */
export const ANY_EVENT: EventFilter = {
  ...{ kinds: [], host: '', reservation: '', address: '', mac: '', vmId: 0 },
  ...{ hosts: [], vmIds: [] },
};

const RECONNECT_MS = 1_000;

/**
 * Shows events until Ctrl-C; a dropped connection is taken up after the last one that was shown.
 *
 * @throws {AppError} what another try would not mend, and the end by Ctrl-C
 */
export async function followEvents(call: Invocation, watch: WatchEvents, after: bigint): Promise<number> {
  const { signal } = call.world;
  let last = after;
  for (;;) {
    try {
      await watch(last, signal, (event) => {
        if (event === undefined) return;
        printEvent(call, event);
        last = event.id;
      });
    } catch (error) {
      if (signal.aborted) throw error;
      if (!(error instanceof AppError) || !['unavailable', 'exhausted'].includes(error.code)) throw error;
      tell(call, `${error.message}; trying again`);
      await call.world.pause(RECONNECT_MS, signal);
    }
  }
}

/** One line an event; JSON likewise, one object a line; YAML has a document for each. */
export function printEvent(call: Invocation, event: Event): void {
  call.world.stdout.write(eventText(call, event));
}

function eventText({ format, writeData, world }: Invocation, event: Event): string {
  if (format === 'json') return `${JSON.stringify(eventJson(event))}\n`;
  if (format === 'yaml') return `---\n${writeData(eventJson(event))}`;
  return `${eventLine(event, world.timeZone())}\n`;
}

/** The newest of those that fit, oldest first. */
export async function newestEvents(call: Invocation, filter: EventFilter, limit: number): Promise<readonly Event[]> {
  const { events } = await withClient(call, EventServiceClient, (client) =>
    callUnary(client.list.bind(client), { filter, afterEvent: 0n, limit }, CALL),
  );
  return events;
}
