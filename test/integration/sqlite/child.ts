import { rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import Driver from 'better-sqlite3';
import { AppError } from '../../../shared/errors.js';
import { openDatabase } from '../../../controller/adapters/sqlite/open-database.js';
import type { Database } from '../../../controller/ports/store.js';
import { anEvent } from '../../contract/store-fixture.js';

// A second process for the tests beside it: `child.ts VERB PATH`, one line of JSON on stdout.

/** What a call came to, in a form that crosses a pipe. */
export interface Outcome {
  readonly code: string;
  readonly message: string;
  readonly details: Readonly<Record<string, string>>;
}

export interface FillReport {
  readonly outcome: Outcome;
  /** Events that writes answered for, before the disk was full. */
  readonly answered: number;
  /** Counter kept by onUndo, the same number if everything was undone. */
  readonly counted: number;
  readonly readable: number;
  /** With room again: `ok`, and how many are there then. */
  readonly again: Outcome;
  readonly readableAgain: number;
}

const [verb, path = ''] = process.argv.slice(2);
const owner = { host: 'frontend', pid: process.pid, bootId: 'boot', startedAtMs: 1_700_000_000_000 };
const BALLAST_BYTES = 300_000;

const VERBS: Readonly<Record<string, () => unknown>> = {
  open: () => outcomeOf(() => openDatabase({ path, owner }).close()),
  /** Serves until killed. */
  hold: () => {
    const db = openDatabase({ path, owner });
    db.write((tx) => tx.events.append(anEvent()));
    return stay(db);
  },
  /** Locks the file without being domherd. */
  lock: () => {
    const driver = new Driver(path);
    driver.pragma('locking_mode = EXCLUSIVE');
    driver.exec('BEGIN EXCLUSIVE; COMMIT');
    return stay(driver);
  },
  fill: () => fillDisk(),
};

process.stdout.write(`${JSON.stringify(VERBS[verb ?? '']?.())}\n`);

/** @param held would be closed, and its lock dropped, by the garbage collector if nothing referred to it any more */
function stay(held: Database | Driver.Database): Outcome {
  setInterval(() => held, 60_000);
  return { code: 'ok', message: 'ready', details: { pid: String(process.pid) } };
}

function outcomeOf(run: () => void): Outcome {
  try {
    run();
    return { code: 'ok', message: '', details: {} };
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    return { code: error.code, message: error.message, details: error.details };
  }
}

/** Writes until the disk is full, then makes room. */
function fillDisk(): FillReport {
  const ballast = join(dirname(path), 'ballast');
  writeFileSync(ballast, Buffer.alloc(BALLAST_BYTES));
  const db = openDatabase({ path, owner });
  let answered = 0;
  let counted = 0;
  const batch = (): void => {
    db.write((tx) => {
      for (let n = 0; n < 20; n++) {
        counted++;
        tx.onUndo(() => counted--);
        tx.savepoint(() => tx.events.append(anEvent({ message: 'x'.repeat(500) })));
      }
      tx.onCommitted(() => (answered += 20));
    });
  };
  const outcome = outcomeOf(() => {
    for (let n = 0; n < 10_000; n++) batch();
  });
  const full = { outcome, answered, counted, readable: countEvents(db) };
  rmSync(ballast);
  const again = outcomeOf(batch);
  const report = { ...full, again, readableAgain: countEvents(db) };
  db.close();
  return report;
}

function countEvents(db: Database): number {
  return db.read((s) => s.events.list({}, 0, 1_000_000)).length;
}
