import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as v from 'valibot';

/** The process that serves a data folder. */
export interface OwnerRecord {
  readonly host: string;
  readonly pid: number;
  /** /proc/sys/kernel/random/boot_id of that host. */
  readonly bootId: string;
  readonly startedAtMs: number;
}

const recordSchema = v.object({
  host: v.string(),
  pid: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
  bootId: v.string(),
  startedAtMs: v.pipe(v.number(), v.safeInteger()),
});

/** Who wrote last that it serves this folder. It may be dead since: the lock on the database decides, never the record. */
export function readOwner(dataDir: string): OwnerRecord | undefined {
  try {
    return v.parse(recordSchema, JSON.parse(readFileSync(recordPath(dataDir), 'utf8')));
  } catch {
    return undefined;
  }
}

/** Whole at any time, since another process may be reading. Not fsynced: after a power cut it would be stale anyway. */
export function writeOwner(dataDir: string, owner: OwnerRecord): void {
  const draft = `${recordPath(dataDir)}.${String(owner.pid)}`;
  try {
    writeFileSync(draft, `${JSON.stringify(owner)}\n`, { mode: 0o600 });
    renameSync(draft, recordPath(dataDir));
  } catch (error) {
    rmSync(draft, { force: true });
    throw error;
  }
}

/** One that cannot be removed is stale once its process is gone. */
export function removeOwner(dataDir: string): void {
  try {
    rmSync(recordPath(dataDir), { force: true });
  } catch {
    // The folder became read-only, or is gone.
  }
}

/** Whether the process of a record is certainly over: the host was booted since, or the process is gone. */
export function isStale(record: OwnerRecord, self: OwnerRecord): boolean {
  if (record.host !== self.host) return false;
  return record.bootId !== self.bootId || !isAlive(record.pid);
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    // EPERM: alive, and another user's.
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}

function recordPath(dataDir: string): string {
  return join(dataDir, 'owner.json');
}
