import { closeSync, fdatasyncSync, openSync, unlinkSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';

const MEASURE_MS = 2_000;

/** fdatasync(2) a second on this disk: 4 KiB appended and synced, one after the other. */
export function measureFdatasync(folder: string): number {
  const path = join(folder, 'fdatasync.bin');
  const file = openSync(path, 'w');
  const page = Buffer.alloc(4096, 1);
  const count = repeat((n) => {
    writeSync(file, page, 0, page.length, n * page.length);
    fdatasyncSync(file);
  });
  closeSync(file);
  unlinkSync(path);
  return count;
}

/** The simplest durable thing: one INSERT, one commit, in WAL with FULL, a second. */
export function measureInserts(folder: string): number {
  const path = join(folder, 'insert.db');
  const database = new Database(path);
  database.pragma('journal_mode = WAL');
  database.pragma('synchronous = FULL');
  database.exec('CREATE TABLE lease (address INTEGER PRIMARY KEY, owner TEXT NOT NULL) STRICT');
  const insert = database.prepare('INSERT INTO lease (address, owner) VALUES (?, ?)');
  const count = repeat((n) => insert.run(n, `owner-${String(n)}`));
  database.close();
  for (const suffix of ['', '-wal', '-shm']) unlinkQuietly(path + suffix);
  return count;
}

function repeat(work: (n: number) => unknown): number {
  const start = performance.now();
  let n = 0;
  while (performance.now() - start < MEASURE_MS) work(n++);
  return (n * 1_000) / (performance.now() - start);
}

function unlinkQuietly(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // A clean close removes the WAL files itself.
  }
}
