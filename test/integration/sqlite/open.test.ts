import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, mkdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import Driver from 'better-sqlite3';
import t, { type Test } from 'tap';
import { openDatabase, readOwner, type OwnerRecord } from '../../../controller/adapters/sqlite/open-database.js';
import { MIGRATIONS } from '../../../controller/adapters/sqlite/migrations.js';
import { AppError } from '../../../shared/errors.js';
import { aHost, aLease, anEvent, aReservation, aVm } from '../../contract/store-fixture.js';
import type { Outcome, FillReport } from './child.js';
import { canMount, killChild, runChild, runOnTmpfs, startChild } from './process.js';

const owner: OwnerRecord = { host: 'frontend', pid: process.pid, bootId: 'boot', startedAtMs: 1000 };

/** A closed database with a little of everything. */
function aFile(t: Test): string {
  const path = join(t.testdir(), 'data', 'domherd.db');
  const db = openDatabase({ path, owner });
  db.write((tx) => {
    const { id } = tx.reservations.insert(aReservation());
    const host = tx.hosts.insert(aHost('h'));
    for (let n = 1; n <= 250; n++) {
      tx.leases.insert(aLease(id, `10.156.0.${n}`));
      tx.vms.observe(host.id, aVm(`/etc/xen/${n}.cfg`), n);
      tx.events.append(anEvent({ message: 'x'.repeat(200), vmId: n }));
    }
  });
  db.close();
  return path;
}

function refusal(path: string): AppError | undefined {
  try {
    openDatabase({ path, owner }).close();
    return undefined;
  } catch (error) {
    if (error instanceof AppError) return error;
    throw error;
  }
}

const digest = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex');

void t.test('a file of its own', async (t) => {
  const path = aFile(t);
  const dataDir = dirname(path);
  await t.test('is for its user alone, and so is what lies beside it', (t) => {
    const db = openDatabase({ path, owner });
    const modes = ['', '-wal', '/../owner.json'].map((end) =>
      (statSync(`${path}${end}`.replace('domherd.db/../', '')).mode & 0o777).toString(8),
    );
    t.strictSame([...modes, (statSync(dataDir).mode & 0o777).toString(8)], ['600', '600', '600', '700']);
    t.notOk(existsSync(`${path}-shm`), 'no shared memory: the lock came before WAL');
    t.strictSame(readOwner(dataDir), owner);
    db.close();
    t.equal(readOwner(dataDir), undefined, 'closed: nobody serves it');
    t.end();
  });
  await t.test('is opened again with what it had', (t) => {
    const db = openDatabase({ path, owner });
    t.equal(db.read((s) => s.leases.list({}, undefined, 1000)).length, 250);
    db.close();
    t.end();
  });
  await t.test('says whose it is and of which version', (t) => {
    const driver = new Driver(path);
    t.equal(driver.pragma('application_id', { simple: true }), 0x646f6d68);
    t.equal(driver.pragma('user_version', { simple: true }), MIGRATIONS.length);
    t.equal(driver.pragma('journal_mode', { simple: true }), 'wal');
    t.strictSame(driver.pragma('foreign_key_check'), []);
    driver.close();
    t.end();
  });
});

void t.test('a file that cannot be trusted is refused and left as it is', async (t) => {
  const newer = String(MIGRATIONS.length + 1);
  const inFile = (path: string, sql: string): void => {
    const driver = new Driver(path);
    driver.exec(sql);
    driver.close();
  };
  const overwrite = (path: string, from: number, bytes: Buffer): void => {
    const content = readFileSync(path);
    bytes.copy(content, from);
    writeFileSync(path, content);
  };
  const cases: { name: string; harm: (path: string) => void; says: RegExp }[] = [
    {
      name: 'a newer version',
      harm: (p) => inFile(p, `PRAGMA user_version = ${newer}`),
      says: new RegExp(`version ${newer}.*up to ${MIGRATIONS.length}$`),
    },
    { name: "another program's file", harm: (p) => inFile(p, 'PRAGMA application_id = 7'), says: /another program/ },
    {
      name: 'a file with tables and no application id',
      harm: (p) => inFile(p, 'PRAGMA application_id = 0; PRAGMA user_version = 0'),
      says: /another program/,
    },
    {
      name: 'no database at all',
      harm: (p) => writeFileSync(p, 'mac = 00:16:3e:00:00:01\n'.repeat(500)),
      says: /no SQLite database/,
    },
    { name: 'a short text', harm: (p) => writeFileSync(p, 'hello'), says: /no SQLite database/ },
    { name: 'the second half is cut off', harm: (p) => truncateSync(p, statSync(p).size / 2), says: /damaged/ },
    { name: 'cut off inside the last page', harm: (p) => truncateSync(p, statSync(p).size - 5000), says: /damaged/ },
    {
      name: 'garbage in the middle',
      harm: (p) => overwrite(p, Math.floor(statSync(p).size / 2), Buffer.alloc(9000, 0xa5)),
      says: /damaged/,
    },
    {
      name: 'a state that no lease has',
      harm: (p) => inFile(p, `PRAGMA ignore_check_constraints = 1; UPDATE lease SET state = 'free' WHERE id = 9`),
      says: /damaged/,
    },
    {
      name: 'a journal of another database',
      harm: (p) => writeFileSync(`${p}-journal`, 'd9d505f920a163d7'),
      says: /-journal is not of this database/,
    },
  ];
  for (const { name, harm, says } of cases) {
    await t.test(name, (t) => {
      const path = aFile(t);
      harm(path);
      const before = digest(path);
      const error = refusal(path);
      t.equal(error?.code, 'wrong_state');
      t.match(error?.message, says);
      t.ok(error?.details['hint'], 'and says what to do');
      t.equal(digest(path), before);
      t.equal(readOwner(dirname(path)), undefined);
      t.end();
    });
  }

  await t.test('a row that only a stranger can have written is reported by the call that meets it', (t) => {
    const path = aFile(t);
    inFile(path, `UPDATE reservation SET settings = '{"prefix":14}'; UPDATE vm SET vifs = 'no JSON' WHERE id = 3`);
    const db = openDatabase({ path, owner });
    const codes = [() => db.read((s) => s.reservations.list()), () => db.read((s) => s.vms.findById(3))].map((run) => {
      try {
        return run();
      } catch (error) {
        return error instanceof AppError ? error.code : error;
      }
    });
    t.strictSame(codes, ['wrong_state', 'wrong_state']);
    t.equal(db.read((s) => s.vms.findById(4))?.key, '/etc/xen/4.cfg', 'the others are read');
    db.close();
    t.end();
  });

  await t.test('a first start that was cut off before the schema is no stranger', (t) => {
    const path = join(t.testdir(), 'domherd.db');
    const driver = new Driver(path);
    driver.pragma('journal_mode = WAL');
    driver.close();
    writeFileSync(`${path}-journal`, '');
    t.equal(refusal(path), undefined);
    t.end();
  });

  await t.test('a folder in the place of the file is unavailable', (t) => {
    const path = join(t.testdir({ 'domherd.db': {} }), 'domherd.db');
    t.equal(refusal(path)?.code, 'unavailable');
    t.end();
  });
});

void t.test('a second process', async (t) => {
  const path = aFile(t);
  const dataDir = dirname(path);
  const holder = await startChild('hold', path);
  t.teardown(() => holder.kill('SIGKILL'));
  const pid = String(holder.pid);

  const refused = await runChild<Outcome>('open', path);
  t.equal(refused.code, 'unavailable', 'is refused');
  t.equal(refused.message, `${path} is served by process ${pid} on host frontend since 2023-11-14T22:13:20.000Z`);
  t.match(refused.details, { host: 'frontend', pid, hint: /--data-dir/ }, 'and told by whom');
  t.equal(readOwner(dataDir)?.pid, holder.pid, 'the record is still the first one');

  await killChild(holder);
  t.equal(readOwner(dataDir)?.pid, holder.pid, 'a killed one leaves its record');
  const stranger = await startChild('lock', path);
  t.teardown(() => stranger.kill('SIGKILL'));
  const unnamed = await runChild<Outcome>('open', path);
  t.equal(unnamed.code, 'unavailable');
  t.equal(unnamed.message, `${path} is open in another process`, 'whose process is not named any more');
  await killChild(stranger);

  const next = openDatabase({ path, owner });
  t.equal(
    next.read((s) => s.events.lastId()),
    251,
    'what the killed one had answered is there',
  );
  t.strictSame(readOwner(dataDir), owner, 'the record is of who serves it now');
  next.close();
});

void t.test('an owner record is only a hint', (t) => {
  const dataDir = t.testdir();
  for (const text of ['', '{}', '{"host":"h","pid":0,"bootId":"b","startedAtMs":1}', 'null']) {
    writeFileSync(join(dataDir, 'owner.json'), text);
    t.equal(readOwner(dataDir), undefined, `"${text}" names nobody`);
  }
  writeFileSync(join(dataDir, 'owner.json'), JSON.stringify({ ...owner, pid: 1, later: 'version' }));
  t.strictSame(readOwner(dataDir), { ...owner, pid: 1 });
  openDatabase({ path: join(dataDir, 'domherd.db'), owner }).close();
  t.end();
});

void t.test('disks', { skip: canMount ? false : 'needs the right to mount' }, async (t) => {
  await t.test('a read-only one is unavailable, whether the file is there or not', async (t) => {
    const folder = t.testdir();
    const script =
      'child open "$1/domherd.db"; mount -o remount,ro "$1"; child open "$1/domherd.db"; child open "$1/new.db"';
    const outcomes = await runOnTmpfs<Outcome>(folder, '4m', script);
    t.strictSame(
      outcomes.map(({ code }) => code),
      ['ok', 'unavailable', 'unavailable'],
    );
    t.match(outcomes[1]?.details, { reason: /EROFS/, hint: /writable/ });
  });

  await t.test(
    'one that becomes full: what was answered stays, the rest is undone, and it goes on with room',
    async (t) => {
      const folder = t.testdir();
      const [report] = await runOnTmpfs<FillReport>(folder, '2m', 'child fill "$1/domherd.db"');
      t.equal(report?.outcome.code, 'unavailable');
      t.match(report?.outcome.details, { sqlite: 'SQLITE_FULL', hint: /room/ });
      t.ok((report?.answered ?? 0) > 0, 'some were answered');
      t.equal(report?.counted, report?.answered, 'memory is as if the last one had never been');
      t.equal(report?.readable, report?.answered, 'and so is the database');
      t.equal(report?.again.code, 'ok');
      t.equal(report?.readableAgain, (report?.answered ?? 0) + 20);
    },
  );

  await t.test('one without room for the first byte', async (t) => {
    const folder = t.testdir();
    const [outcome] = await runOnTmpfs<Outcome>(
      folder,
      '64k',
      'head -c 60k /dev/zero > "$1/ballast"; child open "$1/domherd.db"',
    );
    t.equal(outcome?.code, 'unavailable');
  });
});

void t.test('262,144 leases', async (t) => {
  const path = join(t.testdir(), 'domherd.db');
  const count = 262_144;
  const first = aLease(1, '10.156.0.0').address;
  const timed = <T>(what: string, run: () => T): T => {
    const start = performance.now();
    const result = run();
    t.comment(`${what}: ${(performance.now() - start).toFixed(1)} ms`);
    return result;
  };
  const fill = openDatabase({ path, owner });
  fill.write((tx) => tx.reservations.insert(aReservation()));
  timed('inserting', () => {
    for (let at = 0; at < count; at += 8192) {
      fill.write((tx) => {
        for (let n = at; n < at + 8192; n++) insertNth(tx.leases, n);
      });
    }
  });
  fill.close();

  const db = timed('opening', () => openDatabase({ path, owner }));
  const last = (first + count - 1) as typeof first;
  const addresses = timed('addressesBetween', () => db.read((s) => s.leases.addressesBetween(first, last)));
  t.equal(addresses.length, count);
  t.equal(addresses.at(-1), last);
  timed('countByState', () => db.read((s) => s.leases.countByState(1)));
  timed('topOwners', () => db.read((s) => s.leases.topOwners(1, 5)));
  timed('a page of 1,000', () => db.read((s) => s.leases.list({ reservationId: 1 }, addresses[200_000], 1000)));
  db.close();

  await t.test('damage in them is found at the start', (t) => {
    const driver = new Driver(path, { readonly: true });
    const page = driver
      .prepare(`SELECT pgoffset AS at FROM dbstat WHERE name = ? AND pagetype = 'leaf' LIMIT 1 OFFSET 500`)
      .pluck();
    const leaves = ['lease', 'sqlite_autoindex_lease_1'].map((name) => [name, Number(page.get(name))] as const);
    driver.close();
    for (const [name, at] of leaves) {
      for (const [what, from, length] of [
        ['a page', at, 4096],
        ['some bytes', at + 3000, 200],
      ] as const) {
        const copy = join(t.testdir(), `${name}-${String(length)}`, 'domherd.db');
        mkdirSync(dirname(copy));
        copyFileSync(path, copy);
        const content = readFileSync(copy);
        content.fill(0x5a, from, from + length);
        writeFileSync(copy, content);
        t.equal(refusal(copy)?.code, 'wrong_state', `${what} of ${name}`);
      }
    }
    t.end();
  });

  function insertNth(leases: { insert(lease: ReturnType<typeof aLease>): unknown }, n: number): void {
    const base = aLease(1, '10.156.0.0', { owner: { kind: 'vif', vmId: n, vifIndex: 0 } });
    leases.insert({
      ...base,
      address: (base.address + n) as typeof base.address,
      mac: (base.mac + n) as typeof base.mac,
    });
  }
});
