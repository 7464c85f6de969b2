import type { Hello as WireHello, HostEvent } from '../../../shared/gen/domherd/v1/agent.js';
import {
  HostState as WireState,
  type Host as WireHost,
  type HostFacts as WireFacts,
  type HostState as WireStateValue,
} from '../../../shared/gen/domherd/v1/host.js';
import { invalid } from '../../../shared/errors.js';
import type { Hello } from '../../domain/hello.js';
import type { HostFacts } from '../../domain/host.js';
import type { HostState } from '../../domain/host-state.js';
import type { HostDetail } from '../../services/host-service.js';
import type { HostReport } from '../../services/host-session.js';
import { integerFrom, missing, msFrom, timestampFromMs } from './convert.js';
import { detailsFrom, textFrom } from './convert-observation.js';

const STATES: Readonly<Record<HostState, WireStateValue>> = {
  online: WireState.ONLINE,
  lost: WireState.LOST,
  awaited: WireState.AWAITED,
  joined: WireState.JOINED,
  revoked: WireState.REVOKED,
};

export function hostToWire(detail: HostDetail): WireHost {
  const { host } = detail;
  return {
    id: host.id,
    name: host.name,
    state: STATES[detail.state],
    simulated: host.isSimulated,
    joinedAt: timestampFromMs(host.joinedAtMs),
    lastSeenAt: timestampFromMs(detail.lastSeenAtMs),
    certificateExpiresAt: timestampFromMs(detail.certificateExpiresAtMs),
    facts: host.facts && { ...host.facts },
    vms: detail.vms,
    vmsRunning: detail.vmsRunning,
    deploymentId: host.deploymentId,
    bootId: host.bootId,
    clockOffsetMs: BigInt(Math.trunc(host.clockOffsetMs)),
    sessionAddresses: [...host.sessionAddresses],
    connectedAt: timestampFromMs(detail.connectedAtMs),
    lastError: detail.lastError,
  };
}

/** @throws {AppError} `invalid` naming the field */
export function helloFrom(wire: WireHello): Hello {
  if (!wire.protocol) throw missing('hello.protocol');
  if (!wire.facts) throw missing('hello.facts');
  return {
    protocol: wire.protocol,
    facts: factsFrom(wire.facts),
    deploymentId: requiredText(wire.deploymentId, 'hello.deployment_id'),
    bootId: requiredText(wire.bootId, 'hello.boot_id'),
    sessionCounter: integerFrom(wire.sessionCounter, 'hello.session_counter', 1, 2 ** 32 - 1),
    isSimulated: wire.simulated,
    nowMs: msFrom(wire.now, 'hello.now'),
  };
}

function factsFrom(wire: WireFacts): HostFacts {
  return {
    agentVersion: textFrom(wire.agentVersion) ?? '',
    nodeVersion: textFrom(wire.nodeVersion) ?? '',
    kernel: textFrom(wire.kernel) ?? '',
    xenVersion: textFrom(wire.xenVersion) ?? '',
    cpus: wire.cpus,
    memoryMib: wire.memoryMib,
    memoryFreeMib: wire.memoryFreeMib,
    cfgFolder: textFrom(wire.cfgFolder ?? ''),
  };
}

/** What only the controller decides, and so only the controller tells. */
const CONTROLLER_NOUNS = ['lease', 'reservation', 'token', 'certificate', 'controller'];

/** @throws {AppError} `invalid` naming the field; an event of a noun that hosts know nothing of is one */
export function reportFrom(wire: HostEvent): HostReport {
  const field = 'event.kind';
  const noun = /^([a-z][a-z-]{0,30})\.[a-z][a-z-]{0,30}$/.exec(wire.kind)?.[1];
  if (noun === undefined) throw invalid(`${field} "${textFrom(wire.kind) ?? ''}" is not "noun.verb"`, { field });
  if (CONTROLLER_NOUNS.includes(noun)) throw invalid(`${field} "${wire.kind}" is not a host's to tell`, { field });
  return {
    kind: wire.kind,
    message: textFrom(wire.message) ?? wire.kind,
    vmKey: wire.vmKey === '' ? undefined : wire.vmKey,
    details: detailsFrom(wire.details),
  };
}

function requiredText(text: string, field: string): string {
  if (text.length > 256) throw invalid(`${field} is longer than 256 characters`, { field });
  const cleaned = textFrom(text);
  if (cleaned === undefined) throw missing(field);
  return cleaned;
}
