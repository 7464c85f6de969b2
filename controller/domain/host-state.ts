import type { Host } from './host.js';

export const HOST_STATES = ['online', 'lost', 'awaited', 'joined', 'revoked'] as const;
export type HostState = (typeof HOST_STATES)[number];

/** Times are milliseconds since 1970. */
export interface HostLiveness {
  /** The last message of the host since this controller started. */
  readonly lastWordAtMs: number | undefined;
  readonly controllerStartedAtMs: number;
  /** Silence after which a host is lost; exclusive. */
  readonly lostAfterMs: number;
  /** For so long after its start the controller calls nobody lost; exclusive. */
  readonly graceMs: number;
}

/** A host that lost its link is still online until its silence is long enough: agents reconnect by themselves. */
export function hostStateOf(
  host: Pick<Host, 'revokedAtMs' | 'lastSeenAtMs'>,
  liveness: HostLiveness,
  nowMs: number,
): HostState {
  if (host.revokedAtMs !== undefined) return 'revoked';
  const { lastWordAtMs } = liveness;
  if (lastWordAtMs !== undefined && nowMs - lastWordAtMs < liveness.lostAfterMs) return 'online';
  if (lastWordAtMs === undefined && host.lastSeenAtMs === undefined) return 'joined';
  return nowMs - liveness.controllerStartedAtMs < liveness.graceMs ? 'awaited' : 'lost';
}
