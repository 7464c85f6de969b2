import { formatIpv4 } from '../../../shared/domain/ipv4.js';
import { formatMac } from '../../../shared/domain/mac.js';
import { invalid } from '../../../shared/errors.js';
import type { Event as WireEvent, EventFilter as WireFilter } from '../../../shared/gen/domherd/v1/event.js';
import type { Event, EventFilter } from '../../domain/event.js';
import { optionalAddressFrom, optionalMacFrom, optionalTextFrom, timestampFromMs } from './convert.js';

const MAX_KINDS = 64;
const MAX_SUBJECTS = 10_000;

export function eventToWire(event: Event): WireEvent {
  return {
    id: BigInt(event.id),
    at: timestampFromMs(event.atMs),
    kind: event.kind,
    message: event.message,
    actor: event.actor,
    requestId: event.requestId ?? '',
    reservation: event.reservation ?? '',
    address: event.address === undefined ? '' : formatIpv4(event.address),
    mac: event.mac === undefined ? '' : formatMac(event.mac),
    host: event.host ?? '',
    vmId: event.vmId ?? 0,
    owner: event.owner ?? '',
    details: { ...event.details },
  };
}

/** Unset is: everything. @throws {AppError} `invalid` naming the field */
export function filterFrom(filter: WireFilter | undefined): EventFilter {
  if (filter === undefined) return {};
  return {
    kinds: kindsFrom(filter.kinds),
    host: optionalTextFrom(filter.host, 'filter.host', 253),
    reservation: optionalTextFrom(filter.reservation, 'filter.reservation', 63),
    address: optionalAddressFrom(filter.address, 'filter.address'),
    mac: optionalMacFrom(filter.mac, 'filter.mac'),
    vmId: filter.vmId === 0 ? undefined : filter.vmId,
    hosts: listFrom(filter.hosts, 'filter.hosts'),
    vmIds: listFrom(filter.vmIds, 'filter.vm_ids'),
  };
}

function listFrom<T>(list: readonly T[], field: string): readonly T[] {
  if (list.length <= MAX_SUBJECTS) return list;
  throw invalid(`${field} has more than ${String(MAX_SUBJECTS)} entries`, { field });
}

function kindsFrom(kinds: readonly string[]): readonly string[] {
  const field = 'filter.kinds';
  if (kinds.length > MAX_KINDS) throw invalid(`${field} has more than ${String(MAX_KINDS)} entries`, { field });
  const bad = kinds.find((kind) => !/^[a-z_-]+\.[a-z_-]*$/.test(kind));
  if (bad === undefined) return kinds;
  throw invalid(`${field}: "${bad.slice(0, 64)}" is no kind of event`, {
    field,
    hint: 'write it as lease.bound, or lease. for all of leases',
  });
}
