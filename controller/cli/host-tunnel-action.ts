import { AppError } from '../../shared/errors.js';
import { dom0FolderOf, type Dom0Folder, type TunnelRecord } from './dom0/dom0-folder.js';
import { splitHostPort, type ListenFacts } from './dom0/endpoint.js';
import { findKeeper, keepTunnels, lockKeeper } from './dom0/tunnel-keeper.js';
import { readTunnelState, removeTunnelState } from './dom0/tunnel-state.js';
import type { Invocation } from './invocation.js';
import { formatLocal } from './local-time.js';
import { tell } from './output.js';

/** ssh has 10 s to connect, and an emulated dom0 takes its time. */
const UP_MS = 60_000;
const POLL_MS = 200;

/** In the foreground, until Ctrl-C or until no host needs a tunnel any more. */
export async function keepAllTunnels(call: Invocation): Promise<number> {
  const { exec, nowMs, pause, signal, pid } = call.world;
  const folder = dom0FolderOf(call.world);
  await folder.make();
  const unlock = await lockKeeper(folder, pid);
  try {
    const parts = { folder, exec, nowMs, pause, tell: (line: string) => tell(call, `${stamp(call)} ${line}`) };
    await keepTunnels(parts, signal);
  } finally {
    await unlock();
  }
  return 0;
}

function stamp({ world }: Invocation): string {
  return new Date(world.nowMs()).toISOString();
}

/**
 * Has the tunnel of a host kept up, by a process that outlives this one.
 *
 * @throws {AppError} `unavailable` with the reason, if it is not up in time
 */
export async function openTunnel(call: Invocation, folder: Dom0Folder, host: string): Promise<void> {
  const { nowMs, pause, signal } = call.world;
  const statePath = folder.tunnelStatePath(host);
  if ((await findKeeper(folder)) === undefined) {
    await removeTunnelState(statePath);
    call.world.startAside(['host', 'tunnel'], folder.keeperLogPath);
  }
  const startMs = nowMs();
  for (;;) {
    const state = await readTunnelState(statePath);
    if (state?.isUp) return;
    // Of a reason that was there before, the next try is awaited: the host may have rebooted meanwhile.
    const hasFailed = state !== undefined && state.reason !== '' && state.sinceMs >= startMs;
    if (signal.aborted || nowMs() > startMs + UP_MS || hasFailed) {
      throw new AppError('unavailable', `the tunnel of ${host} is not up: ${state?.reason ?? 'nothing was heard'}`, {
        hint: `see ${folder.keeperLogPath}; does sshd on ${host} allow forwarding (AllowTcpForwarding)?`,
      });
    }
    await pause(POLL_MS, signal);
  }
}

/** For people: "up since ...", "down: ...". */
export async function tunnelText(call: Invocation, host: string): Promise<string> {
  const folder = dom0FolderOf(call.world);
  const zone = call.world.timeZone();
  if ((await findKeeper(folder)) === undefined) return 'down: nothing keeps it up here; start it: domherd host tunnel';
  const state = await readTunnelState(folder.tunnelStatePath(host));
  if (state === undefined) return 'unknown here: it is kept up from another account or machine';
  return state.isUp ? `up since ${formatLocal(state.sinceMs, zone)}` : `down: ${state.reason}`;
}

/** The ends of a tunnel to this controller: on the dom0 the ports are the same as here. */
export function tunnelTo({ global }: Pick<Invocation, 'global'>, { listen, joinListen }: ListenFacts): TunnelRecord {
  const here = global.controller === undefined ? '127.0.0.1' : splitHostPort(global.controller).host;
  const [session, join] = [splitHostPort(listen), splitHostPort(joinListen)];
  const target = ({ host, port }: { host: string; port: number }): string => {
    const dialled = host === '0.0.0.0' || host === '::' ? here : host;
    return dialled.includes(':') ? `[${dialled}]:${String(port)}` : `${dialled}:${String(port)}`;
  };
  return {
    ...{ sessionPort: session.port, joinPort: join.port },
    ...{ sessionTarget: target(session), joinTarget: target(join) },
  };
}
