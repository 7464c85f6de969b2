import { parseIpv4 } from '../../shared/domain/ipv4.js';
import { leasedMac, macFromNumber, parseMac } from '../../shared/domain/mac.js';
import { LEASE_STATES, ownerKey, type NewLease } from '../../controller/domain/lease.js';
import type { LeaseFilter, MacEntry } from '../../controller/ports/store.js';
import type { Check } from './store-contract.js';
import { aLease, aReservation, throwsCode, withLeases } from './store-fixture.js';

const ip = parseIpv4;
const vif = (vmId: number, vifIndex = 0): NewLease['owner'] => ({ kind: 'vif', vmId, vifIndex });

export async function leaseContract(check: Check): Promise<void> {
  await check('a lease is found by id, address and MAC, at both ends of both spaces', (t, db) => {
    const last = { mac: macFromNumber(2 ** 48 - 1), owner: vif(12, 3), createdAtMs: 2 ** 52 };
    const leases = db.write((tx) =>
      withLeases(tx, 'r', [
        ['0.0.0.0', { mac: macFromNumber(0) }],
        ['255.255.255.255', last],
      ]),
    );
    db.read(({ leases: store }) => {
      for (const lease of leases) {
        t.equal(lease.revision, 1);
        t.strictSame(store.findById(lease.id), lease);
        t.strictSame(store.findByAddress(lease.address), lease);
        t.strictSame(store.findByMac(lease.mac), lease);
      }
      t.equal(store.findById(99), undefined);
      t.equal(store.findByAddress(ip('10.0.0.9')), undefined);
      t.equal(store.findByMac(leasedMac(ip('10.0.0.9'))), undefined);
    });
  });

  await check('a second owner of an address or a MAC is raced, over all reservations', (t, db) => {
    db.write((tx) => {
      const [lease] = withLeases(tx, 'a', [['10.0.0.1', { owner: vif(1) }]]);
      const other = tx.reservations.insert(aReservation({ name: 'b' }));
      const clashes: [string, NewLease][] = [
        ['address', aLease(other.id, '10.0.0.1', { mac: parseMac('00:16:3e:ff:00:00') })],
        ['MAC', aLease(other.id, '10.0.0.2', { mac: leasedMac(ip('10.0.0.1')) })],
        ['owner in the reservation', aLease(lease!.reservationId, '10.0.0.3', { owner: vif(1), state: 'bound' })],
      ];
      for (const [name, clash] of clashes) throwsCode(t, 'raced', () => tx.leases.insert(clash), name);
      t.ok(
        tx.leases.insert(aLease(other.id, '10.0.0.4', { owner: vif(1) })),
        'the owner in another reservation is free',
      );
      t.ok(
        tx.leases.insert(aLease(lease!.reservationId, '10.0.0.5', { owner: vif(1), state: 'quarantined' })),
        'and may have resting ones',
      );
    });
  });

  await check('a lease needs its reservation, and a reservation with leases stays', (t, db) => {
    db.write((tx) => {
      throwsCode(t, 'wrong_state', () => tx.leases.insert(aLease(77, '10.0.0.1')), 'no such reservation');
      const [lease] = withLeases(tx, 'r', [['10.0.0.1']]);
      throwsCode(t, 'wrong_state', () => tx.reservations.remove(lease!.reservationId), 'a lease is left');
      tx.leases.remove(lease!.id);
      tx.reservations.remove(lease!.reservationId);
      t.strictSame(tx.reservations.list(), []);
    });
  });

  await check('an update writes owner, MAC, state and times, and is refused at another revision', (t, db) => {
    db.write((tx) => {
      const [lease] = withLeases(tx, 'r', [['10.0.0.1'], ['10.0.0.2']]);
      const mac = parseMac('00:16:3e:01:02:03');
      const change = { owner: vif(4, 1), mac, state: 'bound', changedAtMs: 2000, expiresAtMs: undefined } as const;
      const bound = tx.leases.update({ ...lease!, ...change });
      t.strictSame(bound, { ...lease!, ...change, revision: 2 });
      t.strictSame(tx.leases.findById(lease!.id), bound);
      throwsCode(t, 'raced', () => tx.leases.update(lease!), 'the old revision');
      throwsCode(t, 'raced', () => tx.leases.update({ ...bound, id: 99 }), 'a lease that is gone');
      throwsCode(t, 'raced', () => tx.leases.update({ ...bound, mac: leasedMac(ip('10.0.0.2')) }), "another's MAC");
      t.strictSame(tx.leases.findById(lease!.id), bound, 'and nothing was written');
    });
  });

  await check('ids are not given twice, and removing twice is nothing', (t, db) => {
    db.write((tx) => {
      const [lease] = withLeases(tx, 'r', [['10.0.0.1']]);
      tx.leases.remove(lease!.id);
      tx.leases.remove(lease!.id);
      const next = tx.leases.insert(aLease(lease!.reservationId, '10.0.0.1'));
      t.ok(next.id > lease!.id);
    });
  });

  await check('held is pending or bound, resting is the newest quarantined', (t, db) => {
    db.write((tx) => {
      const [first] = withLeases(tx, 'r', [
        ['10.0.0.1', { owner: vif(1), state: 'quarantined', changedAtMs: 5 }],
        ['10.0.0.2', { owner: vif(1), state: 'quarantined', changedAtMs: 7 }],
        ['10.0.0.3', { owner: vif(1), state: 'quarantined', changedAtMs: 6 }],
        ['10.0.0.4', { owner: vif(1), state: 'declined' }],
        ['10.0.0.5', { owner: vif(1), state: 'expired' }],
        ['10.0.0.6', { owner: vif(2), state: 'bound' }],
        ['10.0.0.7', { owner: vif(3), state: 'pending', expiresAtMs: 10 }],
      ]);
      const id = first!.reservationId;
      t.equal(tx.leases.findHeld(id, 'vif:1/0'), undefined);
      t.equal(tx.leases.findHeld(id, 'vif:2/0')?.address, ip('10.0.0.6'));
      t.equal(tx.leases.findHeld(id, 'vif:3/0')?.address, ip('10.0.0.7'));
      t.equal(tx.leases.findHeld(id + 1, 'vif:2/0'), undefined, 'not of another reservation');
      t.equal(tx.leases.findResting(id, 'vif:1/0')?.address, ip('10.0.0.2'));
      t.equal(tx.leases.findResting(id, 'vif:2/0'), undefined);
      t.equal(tx.leases.findResting(id + 1, 'vif:1/0'), undefined);
    });
  });

  await check("a VM's leases are of all its vifs and of no VM whose id begins alike", (t, db) => {
    db.write((tx) => {
      const owners = [vif(12, 0), vif(12, 10), vif(1, 0), vif(120, 0), vif(121, 2), vif(13), vif(2)];
      withLeases(
        tx,
        'r',
        owners.map((owner, n) => [`10.0.0.${n}`, { owner }] as const),
      );
      const found = tx.leases.listByVm(12).map(({ owner }) => ownerKey(owner));
      t.strictSame(found.sort(), ['vif:12/0', 'vif:12/10']);
    });
  });

  await check('a list is by address, filtered, in pages', (t, db) => {
    db.write((tx) => {
      const [lease] = withLeases(tx, 'a', [
        ['10.0.0.9', { state: 'bound' }],
        ['10.0.0.1'],
        ['200.0.0.5', { state: 'declined' }],
      ]);
      withLeases(tx, 'b', [['10.0.0.4']]);
      const a = lease!.reservationId;
      const cases: { name: string; filter: LeaseFilter; after?: string; limit?: number; want: string[] }[] = [
        { name: 'all', filter: {}, want: ['10.0.0.1', '10.0.0.4', '10.0.0.9', '200.0.0.5'] },
        { name: 'after is exclusive', filter: {}, after: '10.0.0.4', want: ['10.0.0.9', '200.0.0.5'] },
        { name: 'limit', filter: {}, limit: 2, want: ['10.0.0.1', '10.0.0.4'] },
        { name: 'reservation', filter: { reservationId: a }, want: ['10.0.0.1', '10.0.0.9', '200.0.0.5'] },
        { name: 'states', filter: { states: ['bound', 'declined'] }, want: ['10.0.0.9', '200.0.0.5'] },
        { name: 'no states is any', filter: { states: [] }, limit: 1, want: ['10.0.0.1'] },
        { name: 'address', filter: { address: ip('10.0.0.4') }, want: ['10.0.0.4'] },
        { name: 'MAC', filter: { mac: leasedMac(ip('10.0.0.9')) }, want: ['10.0.0.9'] },
        { name: 'both must hold', filter: { reservationId: a, address: ip('10.0.0.4') }, want: [] },
        { name: 'page', filter: { reservationId: a }, after: '10.0.0.1', limit: 1, want: ['10.0.0.9'] },
      ];
      for (const { name, filter, after, limit, want } of cases) {
        const found = tx.leases.list(filter, after === undefined ? undefined : ip(after), limit ?? 100);
        t.strictSame(
          found.map((l) => l.address),
          want.map(ip),
          name,
        );
      }
    });
  });

  await check('due ones are pending and quarantined, earliest first, up to now', (t, db) => {
    db.write((tx) => {
      const [lease] = withLeases(tx, 'r', [
        ['10.0.0.1', { expiresAtMs: 300 }],
        ['10.0.0.2', { state: 'quarantined', expiresAtMs: 100 }],
        ['10.0.0.3', { expiresAtMs: 301 }],
        ['10.0.0.4', { state: 'bound' }],
        ['10.0.0.5', { state: 'expired' }],
      ]);
      const due = (nowMs: number, limit: number): number[] => tx.leases.listDue(nowMs, limit).map((l) => l.address);
      t.strictSame(due(300, 10), [ip('10.0.0.2'), ip('10.0.0.1')]);
      t.strictSame(due(300, 1), [ip('10.0.0.2')]);
      t.strictSame(due(99, 10), []);
      t.equal(tx.leases.nextEnd(lease!.reservationId), 100);
      t.equal(tx.leases.nextEnd(lease!.reservationId + 1), undefined);
    });
  });

  await check('overdue ones are held ones of reservations that are over', (t, db) => {
    db.write((tx) => {
      withLeases(tx, 'r', [['10.0.0.1'], ['10.0.0.2', { state: 'bound' }], ['10.0.0.3', { state: 'quarantined' }]]);
      const later = tx.reservations.insert(aReservation({ name: 'later', endsAtMs: 9001 }));
      tx.leases.insert(aLease(later.id, '10.0.0.4'));
      const overdue = (nowMs: number, limit: number): number[] =>
        tx.leases.listOverdue(nowMs, limit).map((l) => l.address);
      t.strictSame(overdue(8999, 10), []);
      t.strictSame(overdue(9000, 10).sort(), [ip('10.0.0.1'), ip('10.0.0.2')]);
      t.equal(overdue(9001, 10).length, 3);
      t.equal(overdue(9001, 1).length, 1);
    });
  });

  await check('addresses between are of every reservation and state, ascending, both ends included', (t, db) => {
    db.write((tx) => {
      withLeases(tx, 'a', [['10.0.0.9'], ['10.0.0.1'], ['10.0.0.10', { state: 'expired' }]]);
      withLeases(tx, 'b', [['10.0.0.4', { state: 'declined' }], ['200.0.9.1']]);
      t.strictSame(
        tx.leases.addressesBetween(ip('10.0.0.1'), ip('10.0.0.9')),
        ['10.0.0.1', '10.0.0.4', '10.0.0.9'].map(ip),
      );
      t.strictSame(tx.leases.addressesBetween(ip('128.0.0.0'), ip('255.255.255.255')), [ip('200.0.9.1')]);
      t.strictSame(tx.leases.addressesBetween(ip('10.0.0.2'), ip('10.0.0.3')), []);
    });
  });

  await check('counts have every state, top owners the most first', (t, db) => {
    db.write((tx) => {
      const [lease] = withLeases(tx, 'r', [
        ['10.0.0.1', { owner: vif(1), state: 'declined' }],
        ['10.0.0.2', { owner: vif(2) }],
        ['10.0.0.3', { owner: vif(2), state: 'declined' }],
        ['10.0.0.4', { owner: vif(3) }],
      ]);
      const id = lease!.reservationId;
      withLeases(tx, 'other', [
        ['10.0.1.1', { owner: vif(1) }],
        ['10.0.1.2', { owner: vif(1), state: 'expired' }],
      ]);
      const none = Object.fromEntries(LEASE_STATES.map((state) => [state, 0]));
      t.strictSame(tx.leases.countByState(id), { ...none, pending: 2, declined: 2 });
      t.strictSame(tx.leases.countByState(99), none);
      t.strictSame(tx.leases.topOwners(id, 2), [
        { owner: 'vif:2/0', count: 2 },
        { owner: 'vif:1/0', count: 1 },
      ]);
    });
  });

  await check('a MAC has one entry; a lease takes its own along when it goes', (t, db) => {
    db.write((tx) => {
      const [lease] = withLeases(tx, 'r', [['10.0.0.1']]);
      const leased: MacEntry = { mac: lease!.mac, reason: 'leased', owner: 'vif:1/0', leaseId: lease!.id, atMs: 1 };
      const claim: MacEntry = {
        mac: parseMac('00:16:3e:00:00:00'),
        reason: 'random',
        owner: 'vif:1/0',
        leaseId: undefined,
        atMs: 2,
      };
      const top: MacEntry = { ...claim, mac: macFromNumber(2 ** 48 - 1), owner: 'vif:2/0' };
      for (const entry of [top, leased, claim]) tx.macs.insert(entry);
      throwsCode(t, 'raced', () => tx.macs.insert({ ...claim, owner: 'vif:9/0' }), 'the same MAC again');
      t.strictSame(tx.macs.find(leased.mac), leased);
      t.strictSame(tx.macs.findClaim('vif:1/0'), claim, 'a claim is without a lease');
      t.equal(tx.macs.findClaim('vif:9/0'), undefined);
      t.strictSame(tx.macs.list(undefined, 10), [claim, leased, top]);
      t.strictSame(tx.macs.list(claim.mac, 1), [leased]);
      tx.leases.remove(lease!.id);
      tx.macs.remove(claim.mac);
      tx.macs.remove(claim.mac);
      t.strictSame(tx.macs.list(undefined, 10), [top]);
    });
  });
}
