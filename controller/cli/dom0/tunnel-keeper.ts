import { open, readFile, rm } from 'node:fs/promises';
import { AppError, messageOf } from '../../../shared/errors.js';
import { outputOf, type Exec } from '../../../shared/exec.js';
import { sshTarget, type Dom0Folder, type Dom0Record, type TunnelRecord } from './dom0-folder.js';
import { scriptText } from './script.js';
import { sshOptions } from './ssh.js';
import { sshFailure } from './ssh-failure.js';
import { removeTunnelState, writeTunnelState, type TunnelState } from './tunnel-state.js';

export interface KeeperParts {
  readonly folder: Dom0Folder;
  readonly exec: Exec;
  readonly nowMs: () => number;
  readonly pause: (ms: number, signal: AbortSignal) => Promise<void>;
  readonly tell: (line: string) => void;
}

const LOOK_MS = 1_000;
const BEAT_MS = 10_000;
const PAUSE_MS = { first: 1_000, most: 60_000 } as const;
/** One that was up for so long has done well: the next pause is short again. */
const GOOD_MS = 60_000;
/** As long as there is (setTimeout takes no more): a tunnel ends when it breaks. */
const FOREVER_MS = 2 ** 31 - 1;

/**
 * The dom0's side of a tunnel. When nothing is heard for a while it ends its own sshd: one whose line was cut would hold the
 * port for hours, and the next tunnel could not have it.
 */
const FAR_END = `
say tunnel up
while read -r -t 45 _; do :; done
kill $PPID
`;

/** Keeps up the tunnel of every host whose record has one, until there is none or `signal` says so. */
export async function keepTunnels(parts: KeeperParts, signal: AbortSignal): Promise<void> {
  const running = new Map<string, { readonly end: AbortController; readonly ended: Promise<void> }>();
  while (!signal.aborted) {
    const wanted = await wantedTunnels(parts.folder);
    if (wanted.size === 0) break;
    for (const [host, { end, ended }] of running) {
      if (wanted.has(host)) continue;
      end.abort();
      await ended;
      running.delete(host);
    }
    for (const [host, record] of wanted) {
      if (running.has(host)) continue;
      const end = new AbortController();
      running.set(host, { end, ended: keepOne(host, record, parts, AbortSignal.any([signal, end.signal])) });
    }
    await parts.pause(LOOK_MS, signal);
  }
  for (const { end } of running.values()) end.abort();
  await Promise.all([...running.values()].map(({ ended }) => ended));
}

type Tunnelled = Dom0Record & { readonly tunnel: TunnelRecord };

async function wantedTunnels(folder: Dom0Folder): Promise<ReadonlyMap<string, Tunnelled>> {
  const wanted = new Map<string, Tunnelled>();
  for (const host of await folder.list()) {
    const record = await folder.load(host);
    if (record?.tunnel) wanted.set(host, { ...record, tunnel: record.tunnel });
  }
  return wanted;
}

async function keepOne(host: string, record: Tunnelled, parts: KeeperParts, signal: AbortSignal): Promise<void> {
  const { nowMs, pause, tell } = parts;
  const path = parts.folder.tunnelStatePath(host);
  const say = async (state: Omit<TunnelState, 'sinceMs'>): Promise<void> => {
    await writeTunnelState(path, { ...state, sinceMs: nowMs() }).catch((error: unknown) => tell(messageOf(error)));
  };
  const isOver = (): boolean => signal.aborted;
  let pauseMs: number = PAUSE_MS.first;
  while (!isOver()) {
    const startedMs = nowMs();
    const reason = await openOnce(host, record, parts, signal, () => {
      tell(`${host}: tunnel up`);
      void say({ isUp: true, reason: '' });
    });
    if (isOver()) break;
    tell(`${host}: tunnel down: ${reason}`);
    await say({ isUp: false, reason });
    pauseMs = nowMs() - startedMs > GOOD_MS ? PAUSE_MS.first : pauseMs;
    await pause(pauseMs, signal);
    pauseMs = Math.min(2 * pauseMs, PAUSE_MS.most);
  }
  await removeTunnelState(path);
}

/** @returns why it ended */
async function openOnce(
  host: string,
  record: Tunnelled,
  { folder, exec, pause }: KeeperParts,
  signal: AbortSignal,
  onUp: () => void,
): Promise<string> {
  const target = sshTarget(folder, host, record);
  const result = await exec.run(['ssh', ...sshOptions(target), ...forwards(record.tunnel), '--', host, FAR_SHELL], {
    timeoutMs: FOREVER_MS,
    signal,
    input: beats(pause, signal),
    onOutput: (stream, text) => {
      if (stream === 'stdout' && /^tunnel=up$/m.test(text)) onUp();
    },
  });
  return sshFailure(result, host, record.user)?.message ?? (outputOf(result).split('\n').at(-1) || 'it ended');
}

const FAR_SHELL = 'exec bash --norc --noprofile -s';

/** Exported for its test. */
export function forwards({ sessionPort, joinPort, sessionTarget, joinTarget }: TunnelRecord): readonly string[] {
  const alone = ['ControlMaster=no', 'ControlPath=none', 'ExitOnForwardFailure=yes'].flatMap((one) => ['-o', one]);
  const back = (port: number, to: string): string[] => ['-R', `127.0.0.1:${String(port)}:${to}`];
  return [...alone, ...back(sessionPort, sessionTarget), ...back(joinPort, joinTarget)];
}

async function* beats(pause: KeeperParts['pause'], signal: AbortSignal): AsyncGenerator<Uint8Array, void> {
  yield Buffer.from(scriptText(FAR_END));
  while (!signal.aborted) {
    await pause(BEAT_MS, signal);
    yield Buffer.from('\n');
  }
}

/**
 * Lets one keeper work on a folder.
 *
 * @returns gives it back
 * @throws {AppError} `unavailable` if another one is at it
 */
export async function lockKeeper(folder: Dom0Folder, pid: number): Promise<() => Promise<void>> {
  for (let tries = 0; tries < 3; tries += 1) {
    try {
      const file = await open(folder.keeperPath, 'wx', 0o600);
      await file.writeFile(String(pid));
      await file.close();
      return () => rm(folder.keeperPath, { force: true });
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
    }
    const other = await findKeeper(folder);
    if (other !== undefined) {
      const hint = 'domherd host show HOST tells whether a tunnel is up';
      throw new AppError('unavailable', `process ${String(other)} keeps the tunnels already`, { hint });
    }
    await rm(folder.keeperPath, { force: true });
  }
  throw new AppError('unavailable', `${folder.keeperPath} cannot be taken`, { hint: 'remove it' });
}

/** The process that keeps tunnels; `undefined`: none does. */
export async function findKeeper(folder: Dom0Folder): Promise<number | undefined> {
  try {
    const pid = Number(await readFile(folder.keeperPath, 'utf8'));
    // Its number may be another process's by now.
    const words = (await readFile(`/proc/${String(pid)}/cmdline`, 'utf8')).split('\0');
    return words.includes('tunnel') ? pid : undefined;
  } catch {
    return undefined;
  }
}
