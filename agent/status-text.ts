import { formatDuration } from '../shared/domain/duration.js';
import type { Identity } from './domain/identity.js';
import type { AgentStatus } from './ports/agent-record.js';

export interface StatusFacts {
  readonly identity: Identity | undefined;
  /** Of the last run. */
  readonly status: AgentStatus | undefined;
  /** Whether the process of the last run is there. */
  readonly isRunning: boolean;
  /** Milliseconds since 1970. */
  readonly nowMs: number;
}

/** What `domherd-agent status` prints: a name and a value a line. */
export function formatStatus(facts: StatusFacts): string {
  const lines = [...identityLines(facts), ...statusLines(facts)];
  return lines.map(([name, value]) => `${name.padEnd(12)}${value}\n`).join('');
}

type Line = readonly [name: string, value: string];

function identityLines({ identity, nowMs }: StatusFacts): readonly Line[] {
  if (identity === undefined) return [['host', 'not joined']];
  const { notAfterMs, host, addresses, deploymentId } = identity;
  const until = new Date(notAfterMs).toISOString();
  const age = nowMs < notAfterMs ? `until ${until}, ${span(notAfterMs - nowMs)}` : `ran out ${until}`;
  return [
    ['host', host],
    ['certificate', age],
    ['controller', addresses.join(', ')],
    ['deployment', deploymentId],
  ];
}

function statusLines({ status, isRunning, nowMs }: StatusFacts): readonly Line[] {
  if (status === undefined) return [['agent', 'never ran']];
  const { session, version, pid, startedAtMs, isSimulated } = status;
  const since = span(nowMs - startedAtMs);
  const agent = isRunning ? `runs since ${since}, pid ${pid}, version ${version}` : `does not run (version ${version})`;
  return [
    ['agent', agent],
    ['toolstack', isSimulated ? 'simulated: no Xen is behind it' : 'xl'],
    ['session', isRunning ? describeSession(session, nowMs) : 'none'],
  ];
}

function describeSession(session: AgentStatus['session'], nowMs: number): string {
  const since = span(nowMs - session.sinceMs);
  if (session.kind === 'closed') return `none since ${since}: ${session.reason}`;
  return `open since ${since} with ${session.address}, version ${session.controllerVersion}`;
}

/** Whole seconds are enough for people. */
function span(ms: number): string {
  return formatDuration(Math.max(0, Math.floor(ms / 1000)) * 1000);
}
