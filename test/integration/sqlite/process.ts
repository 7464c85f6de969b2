import { execFile, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';

const CHILD = join(import.meta.dirname, 'child.ts');
const LIMIT_MS = 60_000;

/** Mounting needs root, or a kernel that lets users have namespaces. */
export const canMount = spawnSync('unshare', ['-m', 'true']).status === 0;

/** Runs child.ts to its end. */
export async function runChild<T>(verb: string, path: string): Promise<T> {
  const { stdout } = await promisify(execFile)(process.execPath, command(verb, path), { timeout: LIMIT_MS });
  return JSON.parse(stdout) as T;
}

/** Runs child.ts until it has answered; the caller kills it. */
export async function startChild(verb: string, path: string): Promise<ChildProcess> {
  const child = spawn(process.execPath, command(verb, path), { stdio: ['ignore', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout });
  await Promise.race([once(lines, 'line'), once(child, 'exit').then(() => Promise.reject(new Error(`${verb} ended`)))]);
  return child;
}

export async function killChild(child: ChildProcess): Promise<void> {
  const gone = once(child, 'exit');
  child.kill('SIGKILL');
  await gone;
}

/**
 * Runs verbs one after another on a tmpfs that only they see, mounted on `folder`.
 *
 * @param script what sh runs; `child VERB` runs child.ts on domherd.db in the folder, $1 is the folder
 * @returns what each child printed
 */
export async function runOnTmpfs<T>(folder: string, size: string, script: string): Promise<T[]> {
  const node = [process.execPath, ...process.execArgv, CHILD].map((word) => `'${word}'`).join(' ');
  const text = `mount -t tmpfs -o size=${size} tmpfs "$1" || exit 1; child() { ${node} "$1" "$2"; }; ${script}`;
  const { stdout } = await promisify(execFile)('unshare', ['-m', 'sh', '-ec', text, 'sh', folder], {
    timeout: LIMIT_MS,
  });
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as T);
}

function command(verb: string, path: string): string[] {
  return [...process.execArgv, CHILD, verb, path];
}
