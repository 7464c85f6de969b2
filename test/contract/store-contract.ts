import type { Test } from 'tap';
import { messageOf } from '../../shared/errors.js';
import type { Database, Tx } from '../../controller/ports/store.js';
import { leaseContract } from './lease-contract.js';
import { recordContract } from './record-contract.js';
import { aReservation, throwsCode, type OpenStore } from './store-fixture.js';

/** What every Database keeps to, as controller/ports/store.ts has it. Each test opens an empty one. */
export async function storeContract(t: Test, openDatabase: OpenStore): Promise<void> {
  const check: Check = (name, body) =>
    t.test(name, (t) => {
      const db = openDatabase(t);
      t.teardown(() => db.close());
      body(t, db);
      t.end();
    });
  await transactionContract(check);
  await leaseContract(check);
  await recordContract(check);
}

export type Check = (name: string, body: (t: Test, db: Database) => void) => Promise<unknown>;

async function transactionContract(check: Check): Promise<void> {
  await check('what was written is read back, and write returns what the work returned', (t, db) => {
    const written = db.write((tx) => tx.reservations.insert(aReservation()));
    t.strictSame(
      db.read((s) => s.reservations.findById(written.id)),
      written,
    );
  });

  await check('an error leaves nothing behind and is the one that was thrown', (t, db) => {
    const fault = new Error('told');
    t.throws(() => db.write((tx) => fail(tx, 'main', fault)), fault);
    t.strictSame(names(db), []);
    db.write((tx) => tx.reservations.insert(aReservation()));
    t.strictSame(names(db), ['main'], 'and the next transaction is as good as any');
  });

  await check('a savepoint undoes only itself, nested ones too', (t, db) => {
    db.write((tx) => {
      tx.reservations.insert(aReservation({ name: 'a' }));
      attempt(() =>
        tx.savepoint(() => {
          tx.reservations.insert(aReservation({ name: 'b' }));
          tx.savepoint(() => tx.reservations.insert(aReservation({ name: 'c' })));
          throw new Error('undo b and c');
        }),
      );
      tx.savepoint(() => {
        tx.reservations.insert(aReservation({ name: 'd' }));
        attempt(() => tx.savepoint(() => fail(tx, 'e', new Error('undo e'))));
        t.equal(
          tx.savepoint(() => 7),
          7,
          'it returns what its work returned',
        );
      });
    });
    t.strictSame(names(db), ['a', 'd']);
  });

  await check('undo runs newest first, and only for what is undone', (t, db) => {
    const seen: string[] = [];
    attempt(() =>
      db.write((tx) => {
        tx.onUndo(() => seen.push('first'));
        attempt(() =>
          tx.savepoint(() => {
            tx.onUndo(() => seen.push('part 1'));
            tx.onUndo(() => seen.push('part 2'));
            throw new Error('undo the part');
          }),
        );
        t.strictSame(seen.splice(0), ['part 2', 'part 1'], 'as soon as the savepoint is undone');
        tx.savepoint(() => tx.onUndo(() => seen.push('kept part')));
        tx.onUndo(() => seen.push('last'));
        throw new Error('undo the rest');
      }),
    );
    t.strictSame(seen.splice(0), ['last', 'kept part', 'first'], 'a part that was released is undone with the rest');
    db.write((tx) => tx.onUndo(() => seen.push('never')));
    t.strictSame(seen, [], 'nothing is undone after a commit');
  });

  await check('an undo that throws does not keep the others from running', (t, db) => {
    const seen: string[] = [];
    const run = (): unknown =>
      db.write((tx) => {
        tx.onUndo(() => seen.push('older'));
        tx.onUndo(() => {
          throw new Error('of the undo');
        });
        throw new Error('of the work');
      });
    t.equal(attempt(run), 'of the work');
    t.strictSame(seen, ['older']);
  });

  await check('committed actions run oldest first, after the commit, without those of undone parts', (t, db) => {
    const seen: string[] = [];
    db.write((tx) => {
      tx.onCommitted(() => seen.push(`one sees ${names(db).join()}`));
      attempt(() =>
        tx.savepoint(() => {
          tx.onCommitted(() => seen.push('undone'));
          throw new Error('undo');
        }),
      );
      tx.onCommitted(() => db.write((later) => later.reservations.insert(aReservation({ name: 'later' }))));
      tx.onCommitted(() => seen.push(`two sees ${names(db).join()}`));
      tx.reservations.insert(aReservation());
      t.strictSame(seen, [], 'none before');
    });
    t.strictSame(seen, ['one sees main', 'two sees later,main'], 'and they may start transactions');
    attempt(() =>
      db.write((tx) => {
        tx.onCommitted(() => seen.push('rolled back'));
        throw new Error('undo');
      }),
    );
    t.equal(seen.length, 2, 'none after a rollback');
  });

  await check('misuse is an internal error and changes nothing', (t, db) => {
    const outer = (): unknown => db.write((tx) => (tx.reservations.insert(aReservation()), db.write(() => 1)));
    throwsCode(t, 'internal', outer, 'write in write');
    throwsCode(t, 'internal', () => db.write((tx) => Promise.resolve(fill(tx))), 'an async transaction');
    throwsCode(t, 'internal', () => db.write((tx) => tx.savepoint(() => Promise.resolve(fill(tx)))), 'an async part');
    throwsCode(t, 'internal', () => db.read((s) => s.reservations.insert(aReservation())), 'a change in read');
    const kept = db.write((tx) => tx);
    throwsCode(t, 'internal', () => kept.reservations.insert(aReservation()), 'a change after the end');
    throwsCode(t, 'internal', () => kept.savepoint(() => 1), 'a savepoint after the end');
    t.strictSame(names(db), []);
  });

  await check('close may be called twice', (t, db) => {
    db.close();
    db.close();
    t.throws(() => names(db));
  });
}

function names(db: Database): string[] {
  return db.read((s) => s.reservations.list().map(({ name }) => name)).sort();
}

function fill(tx: Tx): void {
  tx.reservations.insert(aReservation());
}

function fail(tx: Tx, name: string, fault: Error): never {
  tx.reservations.insert(aReservation({ name }));
  throw fault;
}

/** The message of what was thrown. */
function attempt(run: () => unknown): string | undefined {
  try {
    run();
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}
