import fc from 'fast-check';
import t from 'tap';
import { defaultReservation } from '../../../../controller/domain/default-reservation.js';
import { formatInstant } from '../../../../controller/domain/instant.js';
import { LEASE_ACTIONS, nextState } from '../../../../controller/domain/lease-transition.js';
import { LEASE_STATES } from '../../../../controller/domain/lease.js';
import { parseLeaseOwnerName } from '../../../../controller/domain/owner-name.js';
import { parseRequestId } from '../../../../controller/domain/request-id.js';
import { completeSettings } from '../../../../controller/domain/subnet-source.js';
import type { Reservation } from '../../../../controller/domain/reservation.js';
import { parseIpv4 } from '../../../../shared/domain/ipv4.js';
import { AppError } from '../../../../shared/errors.js';

t.test('formatInstant is ISO 8601 to the second', (t) => {
  const upTo9999 = fc.integer({ min: 0, max: 253_402_300_799_999 });
  fc.assert(
    fc.property(upTo9999, (atMs) => formatInstant(atMs) === new Date(atMs).toISOString().replace(/\.\d+Z$/, 'Z')),
  );
  t.equal(formatInstant(Date.UTC(2024, 1, 29, 23, 59, 59)), '2024-02-29T23:59:59Z');
  t.end();
});

t.test('transitions of leases', (t) => {
  const held = ['pending', 'bound'];
  for (const state of LEASE_STATES) {
    for (const action of LEASE_ACTIONS) {
      const next = nextState(state, action);
      const isTaken = !held.includes(state) && held.includes(next);
      t.notOk(isTaken && action !== 'revive', `${state} comes back by its owner only, not by ${action}`);
      t.notOk(next === 'free' && action !== 'free', `${action} frees nothing by the way`);
    }
  }
  const table = LEASE_ACTIONS.map((action) => LEASE_STATES.map((state) => nextState(state, action)));
  t.same(table, [
    ['bound', 'unchanged', 'refused', 'refused', 'refused'],
    ['pending', 'refused', 'refused', 'refused', 'refused'],
    ['quarantined', 'quarantined', 'unchanged', 'quarantined', 'quarantined'],
    ['declined', 'declined', 'declined', 'unchanged', 'unchanged'],
    ['unchanged', 'unchanged', 'pending', 'refused', 'bound'],
    ['expired', 'expired', 'refused', 'refused', 'unchanged'],
    ['free', 'free', 'free', 'free', 'free'],
  ]);
  t.end();
});

t.test('defaultReservation', (t) => {
  const { settings } = completeSettings({ dns: [] }, [{ first: parseIpv4('10.0.0.1'), last: parseIpv4('10.0.0.2') }]);
  const { prefix = 14, broadcast = parseIpv4('0.0.0.0'), gateway = parseIpv4('0.0.0.0') } = settings;
  const reservation = (name: string, startsAtMs: number, endsAtMs: number): Reservation => ({
    id: startsAtMs,
    name,
    source: 'cidr-list',
    user: undefined,
    site: undefined,
    jobId: undefined,
    startsAtMs,
    endsAtMs,
    settings: { prefix, broadcast, gateway, dns: [], domain: undefined },
    ranges: [],
    exclusions: [],
  });
  const [over, active, later, last] = [
    reservation('over', 0, 10),
    reservation('active', 5, 20),
    reservation('later', 30, 40),
    reservation('last', 50, 60),
  ];
  const cases: readonly (readonly [string, readonly Reservation[], string])[] = [
    ['the only active one', [over, active, later], 'active'],
    ['the only upcoming one if none is active', [over, later], 'later'],
    ['several active ones', [active, reservation('also', 9, 11)], 'invalid'],
    ['several upcoming ones', [later, last], 'invalid'],
    ['none', [], 'not_found'],
    ['none but those that are over', [over], 'not_found'],
  ];
  for (const [name, all, want] of cases) {
    let got;
    try {
      got = defaultReservation(all, 10).name;
    } catch (error) {
      got = error instanceof AppError ? error.code : error;
    }
    t.equal(got, want, name);
  }
  t.end();
});

t.test('names and ids of callers', (t) => {
  t.equal(parseRequestId(''), undefined);
  for (const id of ['a2345678', 'x'.repeat(64), '0f8fad5b-d9cb-469f-a165-70867728950e'])
    t.equal(parseRequestId(id), id);
  for (const id of ['a234567', 'x'.repeat(65), 'a2345678\n', 'a 345678'])
    t.throws(() => parseRequestId(id), { code: 'invalid' });
  for (const name of ['a', 'x'.repeat(128), 'rack/1:gw_2.x-y']) t.equal(parseLeaseOwnerName(name), name);
  for (const name of ['', 'x'.repeat(129), 'a b', 'a\n', 'ä'])
    t.throws(() => parseLeaseOwnerName(name), { code: 'invalid' });
  t.end();
});
