import { mkdir, stat } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { text } from 'node:stream/consumers';
import { AppError } from '../../../shared/errors.js';
import { errnoOf, fileError } from './atomic-file.js';

/** On one machine; a holder that is stopped by a debugger does not answer. */
const ASK_MS = 1000;
/** The holder may end between two steps of ours. */
const TRIES = 3;

/** A state folder that is this process's alone. The end of the process gives it back, however it comes. */
export interface StateLock {
  /** Idempotent. */
  release(): Promise<void>;
}

/**
 * Takes a state folder for one agent; made if it is missing, and else not touched.
 *
 * The lock is an abstract unix socket: the kernel gives its name to one process at a time, takes it back with the process,
 * and leaves no file behind that could be stale after a kill or a reboot (unix(7)). Node opens it close-on-exec, so what
 * the agent starts does not inherit it. The name is the folder's inode: other spellings of the path, links and bind mounts
 * are the same folder.
 *
 * @throws {AppError} `unavailable` if another agent has it (details `pid`, unless that one is stopped), or the folder
 *   cannot be made
 */
export async function lockStateFolder(stateDir: string, pid: number): Promise<StateLock> {
  const name = await lockName(stateDir);
  for (let tries = 1; ; tries += 1) {
    const server = await listen(name, pid);
    if (server !== undefined) return { release: () => close(server) };
    const holder = await askHolder(name);
    if (holder !== 'gone' || tries === TRIES) throw held(stateDir, holder);
  }
}

async function lockName(stateDir: string): Promise<string> {
  try {
    await mkdir(stateDir, { recursive: true, mode: 0o700 });
    const { dev, ino } = await stat(stateDir, { bigint: true });
    return `\0domherd-agent/${dev}/${ino}`;
  } catch (error) {
    throw fileError(`${stateDir} cannot be used`, error);
  }
}

/** `undefined`: the name is taken. */
function listen(name: string, pid: number): Promise<Server | undefined> {
  const server = createServer((asker) => {
    asker.on('error', () => undefined);
    asker.end(String(pid));
  });
  return new Promise((resolve, reject) => {
    server.once('error', (error) => {
      if (errnoOf(error) === 'EADDRINUSE') resolve(undefined);
      else reject(error);
    });
    server.listen(name, () => {
      // The lock alone is no reason to go on.
      server.unref();
      resolve(server);
    });
  });
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => void server.close(() => resolve()));
}

/** Its pid; `undefined` if it does not say. */
async function askHolder(name: string): Promise<number | 'gone' | undefined> {
  const asking = connect(name);
  asking.setTimeout(ASK_MS, () => asking.destroy());
  try {
    const answer = await text(asking);
    return /^[1-9]\d{0,9}$/.test(answer) ? Number(answer) : undefined;
  } catch (error) {
    return errnoOf(error) === 'ECONNREFUSED' ? 'gone' : undefined;
  }
}

function held(stateDir: string, holder: number | 'gone' | undefined): AppError {
  const isKnown = typeof holder === 'number';
  const who = isKnown ? `process ${holder}` : 'another process that does not answer';
  const find = isKnown ? `ps ${holder}` : 'pgrep -af domherd-agent';
  return new AppError('unavailable', `An agent runs on ${stateDir} already: ${who}`, {
    path: stateDir,
    ...(isKnown && { pid: String(holder) }),
    hint: `stop that one first (${find}), or give this one a --state-dir of its own`,
  });
}
