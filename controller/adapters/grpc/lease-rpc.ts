import { formatIpv4 } from '../../../shared/domain/ipv4.js';
import { formatMac } from '../../../shared/domain/mac.js';
import { invalid } from '../../../shared/errors.js';
import type {
  LeaseHistoryRequest,
  LeaseServiceServer,
  ListLeasesRequest,
} from '../../../shared/gen/domherd/v1/lease.js';
import type { EventFilter } from '../../domain/event.js';
import { ownerKey } from '../../domain/lease.js';
import { parseLeaseOwnerName } from '../../domain/owner-name.js';
import type { LeaseFilter } from '../../ports/store.js';
import type { LeaseService } from '../../services/lease-service.js';
import type { Handlers } from './call.js';
import { eventToWire } from './convert-event.js';
import { claimFrom, leaseToWire, statesFrom } from './convert-lease.js';
import {
  addressesFrom,
  addressFrom,
  checkCount,
  inField,
  integerFrom,
  optionalAddressFrom,
  optionalIdFrom,
  optionalMacFrom,
} from './convert.js';

type Server = Handlers<LeaseServiceServer>;

const MAX_CLAIMS = 4_096;
const MAX_TTL_SECONDS = 3_600;
const MAX_HISTORY = 1_000;

export function leaseHandlers(service: LeaseService): Server {
  return {
    acquire: acquire(service),
    bind: async ({ addresses }, { caller }) => {
      const leases = await service.bind(addressesFrom(addresses, 'addresses', MAX_CLAIMS), caller);
      return { leases: leases.map((lease) => leaseToWire(lease, service)) };
    },
    extend: async ({ addresses, ttlSeconds }, { caller }) => {
      const ttlMs = integerFrom(ttlSeconds, 'ttl_seconds', 1, MAX_TTL_SECONDS) * 1000;
      const leases = await service.extend(addressesFrom(addresses, 'addresses', MAX_CLAIMS), ttlMs, caller);
      return { leases: leases.map((lease) => leaseToWire(lease, service)) };
    },
    release: async ({ addresses, force }, { caller }) => {
      const leases = await service.release(addressesFrom(addresses, 'addresses', MAX_CLAIMS), force, caller);
      return { leases: leases.map((lease) => leaseToWire(lease, service)) };
    },
    decline: async ({ address, seenMac }, { caller }) => {
      const mac = optionalMacFrom(seenMac, 'seen_mac');
      return { lease: leaseToWire(await service.decline(addressFrom(address, 'address'), mac, caller), service) };
    },
    next: next(service),
    list: list(service),
    history: (request) => {
      const limit = integerFrom(request.limit, 'limit', 0, MAX_HISTORY);
      return { events: service.history(historyFilter(request), limit || MAX_HISTORY).map(eventToWire) };
    },
    watch: watch(service),
  };
}

function acquire(service: LeaseService): Server['acquire'] {
  return async ({ reservation, claims, ttlSeconds }, { caller }) => {
    checkCount(claims.length, 'claims', MAX_CLAIMS);
    const ttlMs = integerFrom(ttlSeconds, 'ttl_seconds', 0, MAX_TTL_SECONDS) * 1000;
    const wanted = claims.map((claim, n) => claimFrom(claim, `claims[${String(n)}]`));
    const leases = await service.acquire(wanted, reservation, ttlMs === 0 ? undefined : ttlMs, caller);
    return { leases: leases.map((lease) => leaseToWire(lease, service)) };
  };
}

function next(service: LeaseService): Server['next'] {
  return (request) => {
    const count = integerFrom(request.count, 'count', 1, MAX_CLAIMS);
    const { reservation, candidates } = service.next(request.reservation, count);
    return {
      reservation: reservation.name,
      candidates: candidates.map(({ address, mac }) => ({
        address: formatIpv4(address),
        mac: mac === undefined ? '' : formatMac(mac),
      })),
    };
  };
}

function list(service: LeaseService): Server['list'] {
  return async function* (request, { signal }) {
    for await (const batch of service.list(listFilter(service, request))) {
      if (signal.aborted) return;
      yield { leases: batch.map((lease) => leaseToWire(lease, service)) };
    }
  };
}

function watch(service: LeaseService): Server['watch'] {
  return async function* ({ reservation, afterEvent }, { signal }) {
    const name = reservation === '' ? undefined : reservation;
    for await (const change of service.watch(name, optionalIdFrom(afterEvent, 'after_event'), signal)) {
      const lease = change.lease === undefined ? undefined : leaseToWire(change.lease, service);
      yield { event: eventToWire(change.event), lease };
    }
  };
}

function listFilter(service: LeaseService, request: ListLeasesRequest): LeaseFilter {
  return {
    reservationId: request.reservation === '' ? undefined : service.reservationId(request.reservation),
    states: statesFrom(request.states, 'states'),
    address: optionalAddressFrom(request.address, 'address'),
    mac: optionalMacFrom(request.mac, 'mac'),
  };
}

function historyFilter({ address, mac, ownerName, vmId }: LeaseHistoryRequest): EventFilter {
  const filter: EventFilter = {
    address: optionalAddressFrom(address, 'address'),
    mac: optionalMacFrom(mac, 'mac'),
    owner: ownerName === '' ? undefined : ownerOf(ownerName),
    vmId: vmId === 0 ? undefined : vmId,
  };
  const count = Object.values(filter).filter((value) => value !== undefined).length;
  if (count === 1) return filter;
  const message = 'exactly one of address, mac, owner_name and vm_id is expected';
  throw invalid(`${message}; there are ${String(count)}`, { field: 'address' });
}

function ownerOf(text: string): string {
  return ownerKey({ kind: 'name', name: inField('owner_name', () => parseLeaseOwnerName(text)) });
}
