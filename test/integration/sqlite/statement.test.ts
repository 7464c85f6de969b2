import Driver from 'better-sqlite3';
import t from 'tap';
import { parseIpv4 } from '../../../shared/domain/ipv4.js';
import { leasedMac } from '../../../shared/domain/mac.js';
import { AppError } from '../../../shared/errors.js';
import { Connection, Shapes } from '../../../controller/adapters/sqlite/connection.js';
import { isStale } from '../../../controller/adapters/sqlite/owner-record.js';
import { migrate } from '../../../controller/adapters/sqlite/schema.js';
import { SqliteDatabase } from '../../../controller/adapters/sqlite/sqlite-database.js';
import { fromSqlite, isLocked } from '../../../controller/adapters/sqlite/sqlite-error.js';
import type { EventFilter } from '../../../controller/domain/event.js';
import type { Stores, Tx } from '../../../controller/ports/store.js';
import { aHost, aLease, anEvent, aReservation, aVm, throwsCode } from '../../contract/store-fixture.js';

/** A database of which the test sees the statements and can set the limits. */
function openTraced(): { driver: Driver.Database; db: SqliteDatabase; statements: string[] } {
  const statements: string[] = [];
  const driver = new Driver(':memory:', { verbose: (sql) => statements.push(String(sql)) });
  migrate(driver);
  return { driver, db: new SqliteDatabase(new Connection(driver), undefined, () => undefined), statements };
}

void t.test('every error of the driver has its code', (t) => {
  const cases = [
    ['SQLITE_FULL', 'unavailable'],
    ['SQLITE_IOERR', 'unavailable'],
    ['SQLITE_IOERR_WRITE', 'unavailable'],
    ['SQLITE_IOERR_FSYNC', 'unavailable'],
    ['SQLITE_READONLY', 'unavailable'],
    ['SQLITE_READONLY_DBMOVED', 'unavailable'],
    ['SQLITE_CANTOPEN', 'unavailable'],
    ['SQLITE_CANTOPEN_ISDIR', 'unavailable'],
    ['SQLITE_PERM', 'unavailable'],
    ['SQLITE_BUSY', 'unavailable'],
    ['SQLITE_BUSY_RECOVERY', 'unavailable'],
    ['SQLITE_LOCKED', 'unavailable'],
    ['SQLITE_PROTOCOL', 'unavailable'],
    ['SQLITE_CORRUPT', 'wrong_state'],
    ['SQLITE_CORRUPT_INDEX', 'wrong_state'],
    ['SQLITE_NOTADB', 'wrong_state'],
    ['SQLITE_CONSTRAINT_FOREIGNKEY', 'wrong_state'],
    ['SQLITE_CONSTRAINT_UNIQUE', 'raced'],
    ['SQLITE_CONSTRAINT_PRIMARYKEY', 'raced'],
    ['SQLITE_CONSTRAINT_CHECK', 'internal'],
    ['SQLITE_CONSTRAINT_NOTNULL', 'internal'],
    ['SQLITE_ERROR', 'internal'],
  ] as const;
  for (const [code, want] of cases) {
    // The text says the contrary: it must not matter.
    const error = new Driver.SqliteError('UNIQUE constraint failed: database is locked', code);
    t.equal(fromSqlite(error).code, want, code);
    t.equal(isLocked(error), /BUSY|LOCKED|PROTOCOL/.test(code), `${code} is a lock or not`);
  }
  const own = new AppError('exhausted', 'full');
  t.equal(fromSqlite(own), own, 'an error of our own is passed on');
  t.equal(fromSqlite(new TypeError('x')).code, 'internal');
  t.equal(fromSqlite(new Driver.SqliteError('', 'SQLITE_FULL'), '/d').details['database'], '/d');
  t.end();
});

void t.test('after SQLite rolled back by itself nothing more of that transaction is written', (t) => {
  const { driver, db } = openTraced();
  db.write((tx) => tx.events.append(anEvent({ message: 'before' })));
  const pages = Number(driver.pragma('page_count', { simple: true }));
  driver.pragma(`max_page_count = ${String(pages + 2)}`);
  const undone: string[] = [];
  const codes: (string | undefined)[] = [];
  const part = (tx: Tx, message: string): void => {
    try {
      tx.savepoint(() => {
        tx.onUndo(() => undone.push(message.slice(0, 3)));
        tx.events.append(anEvent({ message }));
      });
      codes.push(undefined);
    } catch (error) {
      codes.push(error instanceof AppError ? error.code : String(error));
    }
  };
  const run = (): unknown =>
    db.write((tx) => {
      part(tx, 'one');
      part(tx, `two${'x'.repeat(100_000)}`);
      t.notOk(driver.inTransaction, 'SQLite did end it: what follows would commit alone');
      part(tx, 'three');
      throwsCode(t, 'unavailable', () => tx.events.append(anEvent()), 'a change');
      tx.onCommitted(() => t.fail('nothing was committed'));
    });
  throwsCode(t, 'unavailable', run, 'though its work caught every error');
  t.strictSame(codes, [undefined, 'unavailable', 'unavailable']);
  t.strictSame(undone, ['two', 'one']);
  const messages = (): string[] => db.read((s) => s.events.list({}, 0, 10).map(({ message }) => message));
  t.strictSame(messages(), ['before']);
  db.write((tx) => tx.events.append(anEvent({ message: 'after' })));
  t.strictSame(messages(), ['before', 'after']);
  db.close();
  t.end();
});

void t.test('a COMMIT that fails undoes everything, and the next one works', (t) => {
  const { driver, db } = openTraced();
  driver.exec('CREATE TABLE late (id INTEGER REFERENCES host (id) DEFERRABLE INITIALLY DEFERRED)');
  const seen: string[] = [];
  const run = (): unknown =>
    db.write((tx) => {
      tx.reservations.insert(aReservation());
      tx.savepoint(() => tx.onUndo(() => seen.push('one')));
      tx.onUndo(() => seen.push('two'));
      tx.onCommitted(() => seen.push('committed'));
      // A deferred foreign key is the one thing that SQLite looks at no earlier than in COMMIT.
      driver.exec('INSERT INTO late VALUES (77)');
    });
  throwsCode(t, 'wrong_state', run, 'the error of COMMIT is told');
  t.strictSame(seen, ['two', 'one']);
  t.notOk(driver.inTransaction);
  db.write((tx) => tx.reservations.insert(aReservation({ name: 'next' })));
  t.strictSame(
    db.read((s) => s.reservations.list().map(({ name }) => name)),
    ['next'],
  );
  db.close();
  t.end();
});

void t.test('queries are answered by an index, without sorting', async (t) => {
  const { driver, db, statements } = openTraced();
  const address = parseIpv4('10.0.0.1');
  const mac = leasedMac(address);
  const events = (filter: EventFilter) => (s: Stores) => [
    s.events.list(filter, 5, 10),
    s.events.list(filter, undefined, 10),
  ];
  const cases: { name: string; run: (s: Stores) => unknown; index: RegExp; sorts?: boolean }[] = [
    { name: 'events by address', run: events({ address, kinds: ['lease.'] }), index: /event_address/ },
    { name: 'events by MAC', run: events({ mac }), index: /event_mac/ },
    { name: 'events by VM', run: events({ vmId: 4 }), index: /event_vm/ },
    { name: 'events by owner', run: events({ owner: 'vif:1/0' }), index: /event_owner/ },
    { name: 'events by host', run: events({ host: 'h', kinds: ['vm.', 'host.lost'] }), index: /event_host/ },
    { name: 'events by reservation', run: events({ reservation: 'r' }), index: /event_reservation/ },
    { name: 'events', run: events({}), index: /event/ },
    {
      name: 'lease by address',
      run: (s) => s.leases.findByAddress(address),
      index: /lease USING INDEX sqlite_autoindex_lease_1/,
    },
    { name: 'lease by MAC', run: (s) => s.leases.findByMac(mac), index: /sqlite_autoindex_lease_2/ },
    { name: 'lease held', run: (s) => s.leases.findHeld(1, 'vif:1/0'), index: /lease_held|lease_owner/ },
    { name: 'lease resting', run: (s) => s.leases.findResting(1, 'vif:1/0'), index: /lease_owner/, sorts: true },
    { name: 'leases of a VM', run: (s) => s.leases.listByVm(1), index: /lease_owner/, sorts: true },
    { name: 'leases', run: (s) => s.leases.list({}, address, 10), index: /sqlite_autoindex_lease_1/ },
    {
      name: 'leases of a reservation',
      run: (s) => s.leases.list({ reservationId: 1, states: ['bound'] }, address, 10),
      index: /lease_address/,
    },
    { name: 'leases due', run: (s) => s.leases.listDue(5, 10), index: /lease_end/ },
    { name: 'leases overdue', run: (s) => s.leases.listOverdue(5, 10), index: /lease_state|lease_held/ },
    {
      name: 'addresses',
      run: (s) => s.leases.addressesBetween(address, address),
      index: /COVERING INDEX sqlite_autoindex_lease_1/,
    },
    { name: 'counts', run: (s) => s.leases.countByState(1), index: /COVERING INDEX lease_state/ },
    { name: 'owners', run: (s) => s.leases.topOwners(1, 3), index: /COVERING INDEX lease_owner/, sorts: true },
    { name: 'next end', run: (s) => s.leases.nextEnd(1), index: /COVERING INDEX lease_end/ },
    { name: 'claim', run: (s) => s.macs.findClaim('vif:1/0'), index: /mac_claim/, sorts: true },
    { name: 'VM by key', run: (s) => s.vms.findByKey(1, 'k'), index: /sqlite_autoindex_vm_1/ },
    { name: 'VMs of a host', run: (s) => s.vms.listByHost(1), index: /sqlite_autoindex_vm_1/ },
    { name: 'request', run: (s) => s.requests.find('q'), index: /sqlite_autoindex_request_1/ },
    { name: 'revoked', run: (s) => s.identities.listRevoked(1), index: /identity_revoked/ },
  ];
  for (const { name, run, index, sorts } of cases) {
    await t.test(name, (t) => {
      statements.length = 0;
      db.read(run);
      const asked = [...statements];
      t.ok(asked.length > 0);
      for (const sql of asked) {
        const plan = driver.prepare<[], { detail: string }>(`EXPLAIN QUERY PLAN ${sql}`).all();
        const text = plan.map(({ detail }) => detail).join('; ');
        t.match(text, index);
        if (sorts !== true) t.notMatch(text, /TEMP B-TREE/);
      }
      t.end();
    });
  }
  db.close();
});

void t.test('the schema refuses what the types cannot', (t) => {
  const { db } = openTraced();
  db.write((tx) => {
    const { id } = tx.reservations.insert(aReservation());
    const host = tx.hosts.insert(aHost('h')).id;
    const lease = aLease(id, '10.0.0.1');
    const wrong: [string, () => unknown][] = [
      ['an address of 33 bits', () => tx.leases.insert({ ...lease, address: (2 ** 32) as typeof lease.address })],
      ['a negative address', () => tx.leases.insert({ ...lease, address: -1 as typeof lease.address })],
      ['a MAC of 49 bits', () => tx.leases.insert({ ...lease, mac: (2 ** 48) as typeof lease.mac })],
      ['a state that is none', () => tx.leases.insert({ ...lease, state: 'free' as 'bound' })],
      ['an end of a bound lease', () => tx.leases.insert({ ...lease, state: 'bound', expiresAtMs: 1 })],
      ['a fraction of a millisecond', () => tx.leases.insert({ ...lease, changedAtMs: 1.5 })],
      ['a state of no VM', () => tx.vms.observe(host, aVm('k', { state: 'on' as 'running' }), 1)],
    ];
    for (const [name, run] of wrong) throwsCode(t, 'internal', run, name);
    t.strictSame(tx.leases.addressesBetween(parseIpv4('0.0.0.0'), parseIpv4('255.255.255.255')), []);
  });
  db.close();
  t.end();
});

void t.test('shapes of filters do not pile up', (t) => {
  const { driver, db } = openTraced();
  const shapes = new Shapes(new Connection(driver), (row: unknown) => row);
  const first = shapes.for('SELECT 0');
  t.equal(shapes.for('SELECT 0'), first, 'one is prepared once');
  for (let n = 1; n <= 256; n++) shapes.for(`SELECT ${String(n)}`);
  t.not(shapes.for('SELECT 0'), first, 'and forgotten when there are too many');
  db.close();
  t.end();
});

void t.test('a record is stale only if its process is certainly over', (t) => {
  const self = { host: 'a', pid: process.pid, bootId: 'b1', startedAtMs: 0 };
  // Above any pid_max of Linux (2**22).
  const dead = 2 ** 22 + 1;
  t.equal(isStale(self, self), false, 'alive');
  t.equal(isStale({ ...self, pid: 1 }, self), false, "another user's");
  t.equal(isStale({ ...self, pid: dead }, self), true, 'gone');
  t.equal(isStale({ ...self, bootId: 'b0' }, self), true, 'before the last boot');
  t.equal(isStale({ ...self, host: 'c', bootId: 'b0', pid: dead }, self), false, 'on a host that we do not see');
  t.end();
});
