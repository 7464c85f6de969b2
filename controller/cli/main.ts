import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { closeSync, openSync } from 'node:fs';
import { constants, userInfo } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { notFound } from '../../shared/errors.js';
import { createExec } from '../../shared/exec.js';
import { run } from './run.js';
import type { World } from './world.js';

const interrupted = new AbortController();
process.on('SIGINT', () => {
  // A second Ctrl-C ends what does not want to end.
  if (interrupted.signal.aborted) process.exit(130);
  interrupted.abort();
});
// The reader of a pipe may leave early, as `head` does: that is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));

function startAside(args: readonly string[], logPath: string): void {
  const log = openSync(logPath, 'a', 0o600);
  const program = fileURLToPath(import.meta.url);
  spawn(process.execPath, [program, ...args], { detached: true, stdio: ['ignore', log, log] }).unref();
  closeSync(log);
}

function attach([program, ...args]: readonly [string, ...string[]]): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: 'inherit' });
    child.once('error', ({ message }) => reject(notFound(`${program} cannot be run: ${message}`, { program })));
    child.once('exit', (code, signal) => resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])));
  });
}

const world: World = {
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  exec: createExec(process.env),
  attach,
  startAside,
  pid: process.pid,
  programFolder: import.meta.dirname,
  env: process.env,
  user: () => {
    const { uid, homedir, username } = userInfo();
    return { uid, home: process.env['HOME'] || homedir, name: username };
  },
  timeZone: () => Intl.DateTimeFormat().resolvedOptions().timeZone,
  nowMs: () => Date.now(),
  newId: () => randomUUID(),
  pause: (ms, signal) => delay(ms, undefined, { signal }).catch(() => undefined),
  signal: interrupted.signal,
};

process.exitCode = await run(process.argv.slice(2), world);
