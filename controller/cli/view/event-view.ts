import type { Event } from '../../../shared/gen/domherd/v1/event.js';
import { formatLocal } from '../local-time.js';
import { withMore, type Column, type View } from '../output.js';
import { isoTime } from './enum-text.js';

export function eventJson(event: Event): unknown {
  return {
    id: Number(event.id),
    at: isoTime(event.at),
    kind: event.kind,
    message: event.message,
    actor: event.actor,
    requestId: event.requestId,
    reservation: event.reservation,
    address: event.address,
    mac: event.mac,
    host: event.host,
    vmId: event.vmId || null,
    owner: event.owner,
    details: event.details,
  };
}

export function eventView(timeZone: string): View<Event> {
  const columns: readonly Column<Event>[] = [
    { title: 'ID', text: (event) => String(event.id) },
    { title: 'TIME', text: ({ at }) => (at ? formatLocal(at.getTime(), timeZone) : '-') },
    { title: 'KIND', text: (event) => event.kind },
    { title: 'ACTOR', text: (event) => event.actor },
    { title: 'MESSAGE', text: (event) => event.message },
  ];
  const more: readonly Column<Event>[] = [
    { title: 'HOST', text: ({ host }) => host || '-' },
    { title: 'VM ID', text: ({ vmId }) => (vmId === 0 ? '-' : String(vmId)) },
    { title: 'ADDRESS', text: ({ address }) => address || '-' },
    { title: 'MAC', text: ({ mac }) => mac || '-' },
    { title: 'RESERVATION', text: ({ reservation }) => reservation || '-' },
    { title: 'REQUEST', text: ({ requestId }) => requestId || '-' },
  ];
  return {
    columns,
    wide: withMore(columns, more),
    json: eventJson,
  };
}

/** One event a line, for streams: a table's columns cannot wait for the last row. */
export function eventLine(event: Event, timeZone: string): string {
  const time = event.at ? formatLocal(event.at.getTime(), timeZone) : '-';
  return `${time}  ${event.kind.padEnd(20)}  ${event.message}`;
}
