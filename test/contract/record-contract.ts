import fc from 'fast-check';
import { ipv4FromNumber, parseIpv4 } from '../../shared/domain/ipv4.js';
import { macFromNumber, parseMac } from '../../shared/domain/mac.js';
import { matchesFilter, type Event, type EventFilter, type NewEvent } from '../../controller/domain/event.js';
import type { Identity } from '../../controller/ports/store.js';
import type { Check } from './store-contract.js';
import { aHost, anEvent, aReservation, aVm, throwsCode } from './store-fixture.js';

export async function recordContract(check: Check): Promise<void> {
  await check('a reservation is kept whole, found by name and id, listed by start, then name', (t, db) => {
    const full = aReservation({
      name: 'full',
      user: 'ada',
      jobId: '42',
      startsAtMs: 2000,
      exclusions: [{ first: parseIpv4('10.156.0.9'), last: parseIpv4('10.156.0.9') }],
      settings: { ...aReservation().settings, dns: [], domain: 'rennes.example' },
    });
    db.write((tx) => {
      const stored = tx.reservations.insert(full);
      t.strictSame(tx.reservations.findByName('full'), { ...full, id: stored.id });
      t.strictSame(tx.reservations.findById(stored.id), stored);
      t.equal(tx.reservations.findByName('FULL'), undefined);
      const b = tx.reservations.insert(aReservation({ name: 'b' }));
      tx.reservations.insert(aReservation({ name: 'a' }));
      t.strictSame(
        tx.reservations.list().map(({ name }) => name),
        ['a', 'b', 'full'],
      );
      throwsCode(t, 'raced', () => tx.reservations.insert(full), 'a name twice');
      throwsCode(t, 'raced', () => tx.reservations.update({ ...b, name: 'full' }), "another's name");
      throwsCode(t, 'not_found', () => tx.reservations.update({ ...b, id: 99 }), 'update of none');
      const changed = { ...b, endsAtMs: 1, ranges: full.exclusions, settings: full.settings };
      tx.reservations.update(changed);
      t.strictSame(tx.reservations.findById(b.id), changed);
      tx.reservations.remove(b.id);
      tx.reservations.remove(b.id);
      t.equal(tx.reservations.findById(b.id), undefined);
      t.ok(tx.reservations.insert(aReservation({ name: 'b' })).id > b.id, 'its id is not given again');
    });
  });

  await check('a change of a reservation that is undone is not read any more', (t, db) => {
    const before = db.write((tx) => tx.reservations.insert(aReservation()));
    t.throws(() =>
      db.write((tx) => {
        tx.reservations.update({ ...before, ranges: [] });
        t.strictSame(tx.reservations.findById(before.id)?.ranges, []);
        throw new Error('undo');
      }),
    );
    t.strictSame(
      db.read((s) => s.reservations.findByName('main')),
      before,
    );
  });

  await check('a host is kept whole, found by name and id, listed by name', (t, db) => {
    const facts = {
      agentVersion: '1',
      nodeVersion: '20',
      kernel: '6.1',
      xenVersion: '',
      cpus: 8,
      memoryMib: 65_536,
      memoryFreeMib: 1,
    };
    db.write((tx) => {
      const b = tx.hosts.insert(aHost('b', { facts, lastSeenAtMs: 5, isSimulated: true }));
      const a = tx.hosts.insert(aHost('a'));
      t.strictSame(tx.hosts.list(), [a, b]);
      t.strictSame(tx.hosts.findByName('b'), b);
      t.equal(tx.hosts.findByName('c'), undefined);
      const changed = { ...a, facts, bootId: 'b2', sessionCounter: 9, revokedAtMs: 6, clockOffsetMs: 12.25 };
      tx.hosts.update(changed);
      t.strictSame(tx.hosts.findById(a.id), changed);
      throwsCode(t, 'raced', () => tx.hosts.insert(aHost('a')), 'a name twice');
      throwsCode(t, 'not_found', () => tx.hosts.update({ ...a, id: 99 }), 'update of none');
    });
  });

  await check('an observed VM keeps its id by host and key, comes back from gone', (t, db) => {
    db.write((tx) => {
      const [one, two] = [tx.hosts.insert(aHost('h1')).id, tx.hosts.insert(aHost('h2')).id];
      const first = tx.vms.observe(one, aVm('/etc/xen/domU.cfg'), 10);
      const twin = tx.vms.observe(two, aVm('/etc/xen/domU.cfg'), 11);
      t.not(first.id, twin.id, 'two hosts with the same image have two VMs');
      const vifs = [
        { index: 1, mac: parseMac('00:16:3e:00:00:01'), bridge: undefined, guestAddress: parseIpv4('10.0.0.1') },
      ];
      tx.vms.markGone(first.id);
      t.equal(tx.vms.findById(first.id)?.isGone, true);
      const again = tx.vms.observe(
        one,
        aVm(first.key, { name: 'x', state: 'running', problem: 'p', uuid: 'u', vifs, hostKeys: ['ssh-rsa AA=='] }),
        20,
      );
      t.equal(again.id, first.id);
      t.strictSame(again.hostKeys, ['ssh-rsa AA==']);
      t.strictSame(tx.vms.findByKey(one, first.key), again);
      t.strictSame([again.isGone, again.observedAtMs, again.vifs], [false, 20, vifs]);
      t.strictSame(tx.vms.listByHost(two), [twin]);
      t.strictSame(tx.vms.list(), [again, twin]);
      tx.vms.remove(twin.id);
      tx.vms.remove(twin.id);
      t.equal(tx.vms.findByKey(two, twin.key), undefined);
      t.ok(tx.vms.observe(two, aVm('k'), 30).id > twin.id, 'its id is not given again');
      throwsCode(t, 'wrong_state', () => tx.vms.observe(99, aVm('k'), 30), 'a host that is not known');
    });
  });

  await check('events: ids ascend, lists are ascending, the newest without a start', (t, db) => {
    db.write((tx) => {
      t.equal(tx.events.lastId(), 0);
      const ids = [300, 100, 200, 400].map((atMs) => tx.events.append(anEvent({ atMs, details: { n: 'x' } })).id);
      const list = (after: number | undefined, limit: number): number[] =>
        tx.events.list({}, after, limit).map(({ id }) => id);
      t.strictSame(list(undefined, 2), ids.slice(2));
      t.strictSame(list(ids[0], 2), ids.slice(1, 3));
      t.strictSame(list(0, 10), ids);
      t.strictSame(list(ids[3], 10), []);
      t.equal(tx.events.prune(300, 1), 1, 'at most the limit');
      t.equal(tx.events.prune(300, 10), 1, 'older, not as old');
      t.strictSame(list(0, 10), [ids[0], ids[3]]);
      tx.events.prune(999, 10);
      t.equal(tx.events.lastId(), ids[3], 'the last id is of the last event ever, pruned or not');
      t.ok(tx.events.append(anEvent()).id > ids[3]!);
    });
  });

  await check('events: the store filters as matchesFilter does', (t, db) => {
    fc.assert(
      fc.property(
        fc.array(someEvent, { maxLength: 12 }),
        fc.array(someFilter, { maxLength: 12 }),
        (events, filters) => {
          const stored: Event[] = [];
          db.write((tx) => {
            tx.events.prune(Number.MAX_SAFE_INTEGER, 1000);
            stored.push(...events.map((event) => tx.events.append(event)));
          });
          for (const filter of filters) {
            const want = stored.filter((event) => matchesFilter(event, filter));
            for (const after of [undefined, 0]) {
              const found = db.read((s) => s.events.list(filter, after, 1000));
              t.strictSame(JSON.parse(JSON.stringify(found)), JSON.parse(JSON.stringify(want)));
            }
          }
        },
      ),
      { numRuns: 60 },
    );
  });

  await check('an answer is kept by its request id', (t, db) => {
    const record = { requestId: 'q', fingerprint: 'Acquire:1', answer: '{"a":1}', atMs: 5 };
    db.write((tx) => {
      tx.requests.insert(record);
      t.strictSame(tx.requests.find('q'), record);
      t.equal(tx.requests.find('Q'), undefined);
      throwsCode(t, 'raced', () => tx.requests.insert({ ...record, answer: 'other' }), 'an id twice');
      for (const atMs of [3, 4]) tx.requests.insert({ ...record, requestId: `q${atMs}`, atMs });
      t.equal(tx.requests.prune(5, 1), 1);
      t.equal(tx.requests.find('q3'), undefined, 'the oldest goes first');
      t.equal(tx.requests.prune(5, 10), 1);
      t.strictSame(tx.requests.find('q'), record);
    });
  });

  await check('a token is used up, and remembers for whom', (t, db) => {
    db.write((tx) => {
      const token = tx.tokens.insert({
        secretHash: 'aa',
        hostPattern: 'paravance-*',
        usesLeft: 2,
        expiresAtMs: 50,
        sessionAddresses: ['127.0.0.1:7433'],
      });
      throwsCode(t, 'raced', () => tx.tokens.insert(token), 'a secret twice');
      tx.tokens.use(token.id, 'h1', 'k1');
      t.strictSame(tx.tokens.findByHash('aa'), { ...token, usesLeft: 1 });
      t.equal(tx.tokens.wasUsed(token.id, 'h1', 'k1'), true);
      t.equal(tx.tokens.wasUsed(token.id, 'h1', 'k2'), false);
      t.equal(tx.tokens.wasUsed(token.id, 'h2', 'k1'), false);
      tx.tokens.use(token.id, 'h2', 'k2');
      throwsCode(t, 'raced', () => tx.tokens.use(token.id, 'h3', 'k3'), 'no use left');
      throwsCode(t, 'raced', () => tx.tokens.use(99, 'h3', 'k3'), 'no such token');
      t.equal(tx.tokens.wasUsed(token.id, 'h3', 'k3'), false);
      t.equal(tx.tokens.prune(50), 0, 'older, not as old');
      t.equal(tx.tokens.prune(51), 1);
      t.equal(tx.tokens.findByHash('aa'), undefined);
      t.equal(tx.tokens.wasUsed(token.id, 'h1', 'k1'), false);
    });
  });

  await check('labels of a VM take the place of those before, and go with it', (t, db) => {
    db.write((tx) => {
      const host = tx.hosts.insert(aHost('h1'));
      const [a, b] = [tx.vms.observe(host.id, aVm('/a.cfg'), 1), tx.vms.observe(host.id, aVm('/b.cfg'), 1)];
      tx.labels.set(a.id, { role: 'db', rack: '' });
      tx.labels.set(b.id, { role: 'front' });
      tx.labels.set(a.id, { role: 'db2' });
      t.strictSame(tx.labels.find(a.id), { role: 'db2' });
      t.strictSame(
        [...tx.labels.list()],
        [
          [a.id, { role: 'db2' }],
          [b.id, { role: 'front' }],
        ],
      );
      throwsCode(t, 'wrong_state', () => tx.labels.set(99, { role: 'x' }), 'of none');
      tx.labels.set(b.id, {});
      tx.vms.remove(a.id);
      t.strictSame([...tx.labels.list()], []);
      t.strictSame(tx.labels.find(a.id), {});
    });
  });

  await check('a job of a VM has its name to itself while it lives, and goes with its host', (t, db) => {
    db.write((tx) => {
      const host = tx.hosts.insert(aHost('h1'));
      const wanted = {
        ...{ kind: 'create', requestId: 'r1', fingerprint: 'f', name: 'web', hostId: host.id, vmKey: '/web.cfg' },
        ...{ orderId: 'o1', data: '{"a":1}', changedAtMs: 5 },
      };
      const job = tx.jobs.insert(wanted);
      t.strictSame(job, { ...wanted, id: job.id, state: 'running' });
      t.strictSame(tx.jobs.find(job.id), job);
      throwsCode(t, 'raced', () => tx.jobs.insert({ ...wanted, requestId: 'r2' }), 'the name of one that lives');
      const other = tx.jobs.insert({ ...wanted, kind: 'delete' });
      t.strictSame(tx.jobs.findLive('create', 'web'), job);
      t.equal(tx.jobs.findLive('create', 'Web'), undefined);

      t.ok(tx.jobs.setState(job.id, 'undoing', 6));
      throwsCode(t, 'raced', () => tx.jobs.insert(wanted), 'one that is undone lives');
      t.strictSame(tx.jobs.listLive('create'), [{ ...job, state: 'undoing', changedAtMs: 6 }]);
      t.ok(tx.jobs.end(job.id, 'undone', '{}', 7));
      const again = tx.jobs.insert(wanted);
      t.strictSame(
        tx.jobs.listByRequest('r1').map(({ id, state }) => [id, state]),
        [
          [job.id, 'undone'],
          [other.id, 'running'],
          [again.id, 'running'],
        ],
      );

      tx.jobs.keepShared('r1', 'shape');
      tx.jobs.keepShared('r1', 'another');
      t.equal(tx.jobs.findShared('r1'), 'shape', 'it stays as it was first');
      t.equal(tx.jobs.prune(7, 10), 0);
      t.equal(tx.jobs.prune(8, 10), 1, 'those that live are kept');
      t.equal(tx.jobs.findShared('r1'), 'shape');
      t.ok(tx.jobs.end(again.id, 'done', '{}', 7));
      tx.jobs.remove(other.id);
      t.equal(tx.jobs.prune(8, 10), 1);
      t.equal(tx.jobs.findShared('r1'), undefined, 'gone with the last of the request');

      const last = tx.jobs.insert(wanted);
      tx.hosts.remove(host.id);
      t.equal(tx.jobs.find(last.id), undefined);
      t.notOk(tx.jobs.setState(last.id, 'undoing', 9));
      t.notOk(tx.jobs.end(last.id, 'undone', '{}', 9));
    });
  });

  await check('identities are revoked by role and name, and stay revoked since the first time', (t, db) => {
    const identity = (serial: string, over: Partial<Identity> = {}): Identity => ({
      serial,
      role: 'agent',
      name: 'h1',
      issuedAtMs: 1,
      expiresAtMs: 100,
      revokedAtMs: undefined,
      ...over,
    });
    db.write((tx) => {
      tx.identities.insert(identity('02', { issuedAtMs: 2 }));
      tx.identities.insert(identity('01'));
      tx.identities.insert(identity('03', { role: 'admin' }));
      tx.identities.insert(identity('04', { name: 'h2', expiresAtMs: 50 }));
      throwsCode(t, 'raced', () => tx.identities.insert(identity('01')), 'a serial twice');
      t.strictSame(
        tx.identities.listByName('agent', 'h1').map(({ serial }) => serial),
        ['01', '02'],
      );
      t.strictSame([...tx.identities.revoke('agent', 'h1', 7)].sort(), ['01', '02']);
      t.strictSame([...tx.identities.revoke('agent', 'h1', 8)].sort(), ['01', '02']);
      t.strictSame(tx.identities.find('01'), identity('01', { revokedAtMs: 7 }));
      t.equal(tx.identities.find('03')?.revokedAtMs, undefined, 'not of another role');
      t.strictSame([...tx.identities.listRevoked(99)].sort(), ['01', '02']);
      t.strictSame(tx.identities.listRevoked(100), [], 'those that are over need not be listed');
      t.equal(tx.identities.prune(51), 1);
      t.equal(tx.identities.find('04'), undefined);
      t.equal(tx.identities.find('99'), undefined);
    });
  });
}

// Few values, so that filters hit; kinds around "." and "/" to try the prefix rule.
const kinds = fc.constantFrom('lease.acquired', 'lease.', 'lease', 'lease/x', 'leases.x', 'vm.started', '.', 'vm.');
const maybe = <T>(...values: T[]): fc.Arbitrary<T | undefined> => fc.constantFrom(undefined, ...values);
const fields = {
  host: maybe('h1', 'h2'),
  reservation: maybe('a', 'b'),
  address: maybe(ipv4FromNumber(0), ipv4FromNumber(0xffff_ffff)),
  mac: maybe(macFromNumber(0), macFromNumber(2 ** 48 - 1)),
  vmId: maybe(1, 2),
  owner: maybe('vif:1/0', 'name:x'),
};
const someEvent: fc.Arbitrary<NewEvent> = fc.record({
  ...fields,
  kind: kinds,
  atMs: fc.nat(100),
  message: fc.constant('m'),
  actor: fc.constant('controller'),
  requestId: maybe('q'),
  details: maybe({ k: 'v' }),
});
const someFilter: fc.Arbitrary<EventFilter> = fc.record(
  { ...fields, kinds: fc.array(kinds, { maxLength: 3 }) },
  { requiredKeys: [] },
);
