import { readFileSync } from 'node:fs';
import { pino } from 'pino';
import t from 'tap';
import type { CallInfo } from '../../../../../controller/adapters/grpc/call.js';
import { eventHandlers } from '../../../../../controller/adapters/grpc/event-rpc.js';
import { leaseHandlers } from '../../../../../controller/adapters/grpc/lease-rpc.js';
import { macHandlers } from '../../../../../controller/adapters/grpc/mac-rpc.js';
import { reservationHandlers } from '../../../../../controller/adapters/grpc/reservation-rpc.js';
import { ListEventsRequest, WatchEventsRequest } from '../../../../../shared/gen/domherd/v1/event.js';
import {
  AcquireLeasesRequest,
  LeaseHistoryRequest,
  LeaseState,
  ListLeasesRequest,
  WatchLeasesRequest,
  type ListLeasesResponse,
} from '../../../../../shared/gen/domherd/v1/lease.js';
import { ClaimMacRequest, MacReason } from '../../../../../shared/gen/domherd/v1/mac.js';
import {
  ExtendReservationRequest,
  ImportReservationRequest,
  ImportReservationResponse_Change as Change,
  ReservationPhase,
} from '../../../../../shared/gen/domherd/v1/reservation.js';
import { callerOf, makeAddressServices, type AddressServices } from '../../../../harness/address-services.js';

const SUBNETS =
  '10.180.0.0/29\t10.183.255.255\t255.252.0.0\t10.183.255.254\t10.180.0.0\tdns.grenoble.grid5000.fr\t172.16.16.247\n';

function callOf(signal: AbortSignal = new AbortController().signal): CallInfo {
  return { caller: callerOf(), agentHost: undefined, log: pino({ level: 'silent' }), signal };
}

function handlersOf(services: AddressServices): {
  reservations: ReturnType<typeof reservationHandlers>;
  leases: ReturnType<typeof leaseHandlers>;
  macs: ReturnType<typeof macHandlers>;
  events: ReturnType<typeof eventHandlers>;
} {
  return {
    reservations: reservationHandlers(services.reservations),
    leases: leaseHandlers(services.leases),
    macs: macHandlers(services.macs),
    events: eventHandlers(services.events),
  };
}

function importRequest(
  services: AddressServices,
  more: Partial<ImportReservationRequest> = {},
): ImportReservationRequest {
  const endsAt = new Date(services.clock.nowMs() + 3_600_000);
  return { ...ImportReservationRequest.create(), source: Buffer.from(SUBNETS), name: 'job-1', endsAt, ...more };
}

const named = (value: string): { owner: { $case: 'name'; value: string } } => ({ owner: { $case: 'name', value } });

t.test('what is asked for on the wire is answered on the wire', async (t) => {
  const services = makeAddressServices();
  const { reservations, leases, macs, events } = handlersOf(services);
  const call = callOf();

  const imported = await reservations.import(
    importRequest(services, { exclusions: ['10.180.0.6', '10.180.0.4-10.180.0.5'] }),
    call,
  );
  t.equal(imported.change, Change.CREATED);
  t.match(imported.reservation, {
    name: 'job-1',
    source: 'g5k-subnets',
    settings: { prefixLength: 14, gateway: '10.183.255.254', dns: ['172.16.16.247'], domain: 'grenoble.grid5000.fr' },
    blocks: ['10.180.0.0/29'],
    exclusions: ['10.180.0.4-10.180.0.6', '10.183.255.254-10.183.255.255', '172.16.16.247'],
    phase: ReservationPhase.ACTIVE,
    size: 3,
    free: 3,
  });
  t.same((await reservations.list({}, call)).reservations, [imported.reservation]);
  t.same((await reservations.get({ name: 'job-1' }, call)).reservation, imported.reservation);

  const vif = { owner: { $case: 'vif' as const, value: { vmId: 7, vifIndex: 1, vm: '' } } };
  const claims = [{ owner: vif }, { owner: named('gw'), address: '10.180.0.3', mac: '52:54:00:00:00:01' }];
  const acquired = await leases.acquire({ requestId: '', reservation: '', claims, ttlSeconds: 60 }, call);
  const expiresAt = new Date(services.clock.nowMs() + 60_000);
  t.match(acquired.leases, [
    {
      reservation: 'job-1',
      address: '10.180.0.1',
      mac: '00:16:3e:b4:00:01',
      owner: { owner: { $case: 'vif', value: { vmId: 7, vifIndex: 1, vm: 'vm7@dom0-1' } } },
      state: LeaseState.PENDING,
      revision: 1,
      expiresAt,
    },
    { address: '10.180.0.3', mac: '52:54:00:00:00:01', owner: named('gw') },
  ]);
  const addresses = ['10.180.0.1'];
  t.match(await leases.extend({ requestId: '', addresses, ttlSeconds: 90 }, call), { leases: [{ revision: 2 }] });
  t.match(await leases.bind({ requestId: '', addresses }, call), {
    leases: [{ state: LeaseState.BOUND, revision: 3 }],
  });
  t.match(await leases.release({ requestId: '', addresses, force: true }, call), {
    leases: [{ state: LeaseState.QUARANTINED }],
  });
  t.match(await leases.decline({ requestId: '', address: '10.180.0.3', seenMac: '' }, call), {
    lease: { state: LeaseState.DECLINED },
  });
  t.same(await leases.next({ reservation: '', count: 1 }, call), {
    reservation: 'job-1',
    candidates: [{ address: '10.180.0.2', mac: '00:16:3e:b4:00:02' }],
  });
  const batches: ListLeasesResponse[] = [];
  const states = [LeaseState.DECLINED];
  for await (const batch of leases.list({ ...ListLeasesRequest.create(), reservation: 'job-1', states }, call))
    batches.push(batch);
  t.match(batches, [{ leases: [{ address: '10.180.0.3' }] }]);

  const history = await leases.history({ ...LeaseHistoryRequest.create(), vmId: 7 }, call);
  t.match(
    history.events.map(({ kind, owner, vmId }) => [kind, owner, vmId]),
    ['lease.acquired', 'lease.extended', 'lease.bound', 'lease.released'].map((kind) => [kind, 'vif:7/1', 7]),
  );
  const claimed = await macs.claim({ requestId: '', ownerName: 'printer', mac: '52:54:00:00:00:09' }, call);
  t.same(claimed.mac, { mac: '52:54:00:00:00:09', reason: MacReason.CHOSEN, owner: 'printer', address: '' });
  t.match((await macs.list({}, call)).macs, [
    { address: '10.180.0.1' },
    { address: '10.180.0.3' },
    { owner: 'printer' },
  ]);
  t.same(await macs.release({ requestId: '', mac: '52:54:00:00:00:09' }, call), {});

  const all = await events.list({ ...ListEventsRequest.create(), limit: 2 }, call);
  t.same(
    all.events.map(({ kind }) => kind),
    ['mac.claimed', 'mac.released'],
  );
  const watched = events.watch({ ...WatchEventsRequest.create(), afterEvent: all.events[0]!.id }, call);
  for await (const { event } of watched) {
    t.same(event, all.events[1]);
    break;
  }
  for await (const { event, lease } of leases.watch({ reservation: 'job-1', afterEvent: 1n }, call)) {
    t.match([event, lease], [{ kind: 'lease.acquired', id: 2n }, { state: LeaseState.QUARANTINED }]);
    break;
  }

  const endsAt = new Date(services.clock.nowMs() + 7_200_000);
  t.match(await reservations.extend({ requestId: '', name: 'job-1', endsAt }, call), { reservation: { endsAt } });
  t.same(await reservations.delete({ requestId: '', name: 'job-1' }, call), { droppedLeases: 2 });
});

t.test('what is malformed is refused with its field', async (t) => {
  const services = makeAddressServices();
  const { reservations, leases, macs, events } = handlersOf(services);
  const call = callOf();
  await reservations.import(importRequest(services), call);
  const acquire = (claim: Partial<AcquireLeasesRequest['claims'][number]>, ttlSeconds = 0): unknown =>
    leases.acquire({ requestId: '', reservation: '', claims: [{ owner: named('a'), ...claim }], ttlSeconds }, call);
  const load = (more: Partial<ImportReservationRequest>): unknown =>
    reservations.import(importRequest(services, more), call);
  const drain = async (stream: AsyncIterable<unknown>): Promise<void> => {
    for await (const one of stream) t.fail(`it gave ${JSON.stringify(one)}`);
  };
  const list = (more: Partial<ListLeasesRequest>): unknown =>
    drain(leases.list({ ...ListLeasesRequest.create(), ...more }, call));
  const history = (more: Partial<LeaseHistoryRequest>): unknown =>
    leases.history({ ...LeaseHistoryRequest.create(), ...more }, call);
  const manyAddresses = Array.from({ length: 4097 }, () => '10.180.0.1');

  const cases: readonly (readonly [string, () => unknown])[] = [
    ['source', () => load({ source: Buffer.alloc(0) })],
    ['source', () => load({ source: Buffer.from([0xff, 0xfe]) })],
    ['source', () => load({ source: Buffer.alloc(12 * 1024 * 1024 + 1, 32) })],
    ['ends_at', () => load({ endsAt: new Date(NaN) })],
    ['starts_at', () => load({ startsAt: new Date(-1) })],
    ['prefix_length', () => load({ prefixLength: 0 })],
    ['prefix_length', () => load({ prefixLength: 31 })],
    ['prefix_length', () => load({ prefixLength: 33 })],
    ['prefix_length', () => load({ prefixLength: 4e9 })],
    ['gateway', () => load({ gateway: '10.0.0' })],
    ['broadcast', () => load({ broadcast: '10.0.0.256' })],
    ['dns[1]', () => load({ dns: ['10.0.0.1', '10.0.0.01'] })],
    ['dns', () => load({ dns: Array.from({ length: 17 }, () => '10.0.0.1') })],
    ['domain', () => load({ domain: 'a b' })],
    ['exclusions[0]', () => load({ exclusions: ['10.0.0.9-10.0.0.1'] })],
    ['exclusions[0]', () => load({ exclusions: ['10.0.0.1-10.0.0.2-10.0.0.3'] })],
    ['exclusions[1]', () => load({ exclusions: ['10.0.0.0/22', '10.0.0.1/22'] })],
    ['user', () => load({ user: 'a\nb' })],
    ['site', () => load({ site: 'x'.repeat(64) })],
    ['job_id', () => load({ jobId: '1 2' })],
    ['name', () => reservations.extend({ ...ExtendReservationRequest.create(), endsAt: new Date() }, call)],
    ['ends_at', () => reservations.extend({ requestId: '', name: 'job-1', endsAt: undefined }, call)],
    ['name', () => reservations.delete({ requestId: '', name: '' }, call)],
    ['claims', () => leases.acquire(AcquireLeasesRequest.create(), call)],
    ['ttl_seconds', () => acquire({}, 3601)],
    ['claims[0].owner', () => acquire({ owner: undefined })],
    ['claims[0].owner', () => acquire({ owner: { owner: undefined } })],
    ['claims[0].owner.name', () => acquire({ owner: named('a b') })],
    [
      'claims[0].owner.vif.vm_id',
      () => acquire({ owner: { owner: { $case: 'vif', value: { vmId: 0, vifIndex: 0, vm: '' } } } }),
    ],
    [
      'claims[0].owner.vif.vif_index',
      () => acquire({ owner: { owner: { $case: 'vif', value: { vmId: 1, vifIndex: 999, vm: '' } } } }),
    ],
    ['claims[0].address', () => acquire({ address: 'x' })],
    ['claims[0].mac', () => acquire({ mac: 'x' })],
    ['addresses', () => leases.bind({ requestId: '', addresses: [] }, call)],
    ['addresses', () => leases.release({ requestId: '', addresses: manyAddresses, force: false }, call)],
    ['addresses[1]', () => leases.bind({ requestId: '', addresses: ['10.180.0.1', ''] }, call)],
    ['ttl_seconds', () => leases.extend({ requestId: '', addresses: ['10.180.0.1'], ttlSeconds: 0 }, call)],
    ['address', () => leases.decline({ requestId: '', address: '', seenMac: '' }, call)],
    ['seen_mac', () => leases.decline({ requestId: '', address: '10.180.0.1', seenMac: 'x' }, call)],
    ['count', () => leases.next({ reservation: '', count: 0 }, call)],
    ['states', () => list({ states: [LeaseState.UNRECOGNIZED] })],
    ['address', () => list({ address: '10' })],
    ['mac', () => list({ mac: '10' })],
    ['limit', () => history({ vmId: 1, limit: 1001 })],
    ['address', () => history({})],
    ['address', () => history({ vmId: 1, mac: '52:54:00:00:00:01' })],
    ['owner_name', () => history({ ownerName: 'a b' })],
    ['after_event', () => drain(leases.watch({ ...WatchLeasesRequest.create(), afterEvent: 2n ** 60n }, call))],
    ['owner_name', () => macs.claim({ ...ClaimMacRequest.create(), ownerName: '' }, call)],
    ['mac', () => macs.release({ requestId: '', mac: '' }, call)],
    ['limit', () => events.list({ ...ListEventsRequest.create(), limit: 1001 }, call)],
    [
      'filter.kinds',
      () => events.list({ ...ListEventsRequest.create(), filter: eventFilter({ kinds: ['lease'] }) }, call),
    ],
    [
      'filter.host',
      () => events.list({ ...ListEventsRequest.create(), filter: eventFilter({ host: 'a\u001b' }) }, call),
    ],
  ];
  for (const [field, ask] of cases) {
    await t.rejects(
      Promise.resolve().then(ask),
      { code: 'invalid', details: { field } },
      `${field}: ${ask.toString().slice(0, 80)}`,
    );
  }
});

t.test('events are filtered by every kind that docs/events.md lists', (t) => {
  const { events } = handlersOf(makeAddressServices());
  const kinds = [...readFileSync('docs/events.md', 'utf8').matchAll(/`([a-z]+\.[^`]*)`/g)].map(([, kind = '']) => kind);
  t.ok(kinds.includes('vm.state-changed'));
  for (const kind of kinds) {
    const filter = eventFilter({ kinds: [kind] });
    t.doesNotThrow(() => events.list({ ...ListEventsRequest.create(), filter }, callOf()), kind);
  }
  t.end();
});

function eventFilter(more: { kinds?: string[]; host?: string }): NonNullable<ListEventsRequest['filter']> {
  return { kinds: [], host: '', reservation: '', address: '', mac: '', vmId: 0, hosts: [], vmIds: [], ...more };
}
