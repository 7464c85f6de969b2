import { AppError, wrongState } from '../../shared/errors.js';
import type { Host, HostFacts } from './host.js';
import { checkProtocol, type ProtocolVersion } from './protocol.js';

/** How a host opens a session. */
export interface Hello {
  readonly protocol: ProtocolVersion;
  readonly facts: HostFacts;
  readonly deploymentId: string;
  readonly bootId: string;
  /** From 1; bumped by the agent at each session. */
  readonly sessionCounter: number;
  readonly isSimulated: boolean;
  /** The host's clock, milliseconds since 1970. */
  readonly nowMs: number;
}

/** Clocks that are further apart are reported. */
const MAX_CLOCK_OFFSET_MS = 60_000;

/** Why a host gets no session; `undefined` if it gets one. */
export function refuseHello(host: Host, hello: Hello, protocol: ProtocolVersion): AppError | undefined {
  if (host.revokedAtMs !== undefined) {
    return new AppError('unauthenticated', `host ${host.name} was revoked`, { host: host.name, hint: JOIN_HINT });
  }
  if (hello.deploymentId !== host.deploymentId) {
    return wrongState(`host ${host.name} was deployed anew since it joined`, {
      host: host.name,
      deploymentId: hello.deploymentId,
      hint: JOIN_HINT,
    });
  }
  // Equal is going back too: the counter is bumped before each session, so only a restored image repeats one.
  if (hello.sessionCounter <= host.sessionCounter) {
    return wrongState(`host ${host.name} is a restored image: its session counter went back`, {
      host: host.name,
      sessionCounter: String(hello.sessionCounter),
      lastSessionCounter: String(host.sessionCounter),
      hint: JOIN_HINT,
    });
  }
  return refuseProtocol(host, hello, protocol);
}

const JOIN_HINT = 'let the host join anew: domherd host add';

function refuseProtocol(host: Host, hello: Hello, protocol: ProtocolVersion): AppError | undefined {
  try {
    checkProtocol(protocol, hello.protocol, `agent of ${host.name}`);
    return undefined;
  } catch (error) {
    if (error instanceof AppError) return error;
    throw error;
  }
}

/** The host as it is after its hello. */
export function welcomeHost(host: Host, hello: Hello, nowMs: number): Host {
  return {
    ...host,
    bootId: hello.bootId,
    sessionCounter: hello.sessionCounter,
    isSimulated: hello.isSimulated,
    lastSeenAtMs: nowMs,
    clockOffsetMs: hello.nowMs - nowMs,
    facts: hello.facts,
  };
}

export function isClockOff(host: Host): boolean {
  return Math.abs(host.clockOffsetMs) > MAX_CLOCK_OFFSET_MS;
}
