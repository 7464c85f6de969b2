import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

const LOOK_MS = 100;
const KILLED_MS = 5_000;

export interface KnownProcess {
  readonly proc: string;
  readonly pid: number;
  /** By its argv: its number may be another's by now. */
  readonly is: (argv: readonly string[]) => boolean;
}

export async function isAlive({ proc, pid, is }: KnownProcess): Promise<boolean> {
  const argv = await argvOf(proc, pid);
  return argv !== undefined && is(argv);
}

/** Waits for it to end by itself; then it is killed. @returns whether it is gone */
export async function endAndWait(process_: KnownProcess, patienceMs: number): Promise<boolean> {
  if (await isGoneWithin(process_, patienceMs)) return true;
  kill(process_.pid);
  return isGoneWithin(process_, KILLED_MS);
}

/** All whose argv is so. */
export async function findProcesses(proc: string, is: KnownProcess['is']): Promise<readonly KnownProcess[]> {
  const pids = (await readdir(proc)).filter((name) => /^\d+$/.test(name)).map(Number);
  const found = await Promise.all(
    pids.map(async (pid) => ((await isAlive({ proc, pid, is })) ? [{ proc, pid, is }] : [])),
  );
  return found.flat();
}

export function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It ended in the meantime.
  }
}

async function isGoneWithin(known: KnownProcess, patienceMs: number): Promise<boolean> {
  for (let waitedMs = 0; waitedMs <= patienceMs; waitedMs += LOOK_MS) {
    if (!(await isAlive(known))) return true;
    await delay(LOOK_MS);
  }
  return false;
}

/** `undefined`: there is no such process; a zombie has no argv. */
async function argvOf(proc: string, pid: number): Promise<readonly string[] | undefined> {
  const text = await readFile(join(proc, String(pid), 'cmdline'), 'latin1').catch(() => '');
  return text === '' ? undefined : text.split('\0').slice(0, -1);
}
