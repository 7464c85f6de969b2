import type { Host } from './host.js';

export const HOST_STATES = ['online', 'lost', 'awaited', 'joined', 'revoked'] as const;
export type HostState = (typeof HOST_STATES)[number];

/** Times are milliseconds since 1970. */
export interface HostLiveness {
  /** The last message of the host since it told this controller its state. */
  readonly lastWordAtMs: number | undefined;
  /** It has opened a session and not told its state yet. */
  readonly isOpening: boolean;
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
  return liveness.isOpening || nowMs - liveness.controllerStartedAtMs < liveness.graceMs ? 'awaited' : 'lost';
}
