import { parseSshPublicKey } from '../../../shared/domain/ssh-public-key.js';
import { invalid } from '../../../shared/errors.js';
import {
  VmState as WireState,
  type VmMetrics as WireMetrics,
  type VmState as WireStateValue,
} from '../../../shared/gen/domherd/v1/vm.js';
import type {
  FullState,
  Heartbeat as WireHeartbeat,
  ObservedVif as WireVif,
  ObservedVm as WireVm,
} from '../../../shared/gen/domherd/v1/agent.js';
import type { ObservedVif, ObservedVm, VmState } from '../../domain/vm.js';
import type { Heartbeat, VmMetrics } from '../../domain/vm-metrics.js';
import { integerFrom, missing, optionalAddressFrom, optionalMacFrom, optionalMsFrom } from './convert.js';

/** What one host may have; a dom0 runs tens. */
const MAX_VMS = 4_096;
const MAX_VIFS = 64;
const MAX_KEY = 4_096;
const MAX_TEXT = 1_024;
/** OpenSSH has four kinds. */
const MAX_HOST_KEYS = 8;

const STATES: Readonly<Record<VmState, WireStateValue>> = {
  unknown: WireState.UNKNOWN,
  stopped: WireState.STOPPED,
  starting: WireState.STARTING,
  running: WireState.RUNNING,
  paused: WireState.PAUSED,
  stopping: WireState.STOPPING,
  crashed: WireState.CRASHED,
};

const STATES_FROM = new Map(Object.entries(STATES).map(([state, wire]) => [wire, state as VmState]));

export function vmStateToWire(state: VmState): WireStateValue {
  return STATES[state];
}

/** A state that this controller does not know is `unknown`: the agent may be one minor ahead. */
export function vmStateFrom(wire: WireStateValue): VmState {
  return STATES_FROM.get(wire) ?? 'unknown';
}

/** @throws {AppError} `invalid` naming the field, also for a key that comes twice */
export function fullStateFrom(wire: FullState): readonly ObservedVm[] {
  return observedVmsFrom(wire.vms, 'full_state.vms');
}

export function observedVmsFrom(wire: readonly WireVm[], field: string): readonly ObservedVm[] {
  if (wire.length > MAX_VMS) throw invalid(`${field} has ${wire.length} entries, more than ${MAX_VMS}`, { field });
  const vms = wire.map((vm, n) => observedVmFrom(vm, `${field}[${n}]`));
  const twice = firstTwice(vms.map((vm) => vm.key));
  if (twice !== undefined) throw invalid(`${field} has the key "${twice}" twice`, { field, key: twice });
  return vms;
}

export function observedVmFrom(wire: WireVm, field: string): ObservedVm {
  if (wire.vifs.length > MAX_VIFS) throw invalid(`${field}.vifs has more than ${MAX_VIFS} entries`, { field });
  const vifs = wire.vifs.map((vif, n) => observedVifFrom(vif, `${field}.vifs[${n}]`));
  const twice = firstTwice(vifs.map((vif) => vif.index));
  if (twice !== undefined) throw invalid(`${field}.vifs has the index ${twice} twice`, { field: `${field}.vifs` });
  return {
    key: keyFrom(wire.key, `${field}.key`),
    name: textFrom(wire.name) ?? '(no name)',
    cfgPath: wire.cfgPath === '' ? undefined : keyFrom(wire.cfgPath, `${field}.cfg_path`),
    uuid: textFrom(wire.uuid),
    state: vmStateFrom(wire.state),
    memoryMib: wire.memoryMib,
    vcpus: wire.vcpus,
    vifs,
    ...hostKeysFrom(wire.hostKeys),
    isAutostarted: wire.autostart,
    problem: textFrom(wire.problem),
  };
}

/** What is no key is left out: one VM's guest must not cost its host the session. */
function hostKeysFrom(wire: readonly string[]): Pick<ObservedVm, 'hostKeys'> {
  const hostKeys = wire.slice(0, MAX_HOST_KEYS).flatMap((text) => {
    try {
      const { type, blob } = parseSshPublicKey(text);
      return [`${type} ${blob}`];
    } catch {
      return [];
    }
  });
  return hostKeys.length === 0 ? {} : { hostKeys };
}

function observedVifFrom(wire: WireVif, field: string): ObservedVif {
  return {
    index: integerFrom(wire.index, `${field}.index`, 0, 255),
    mac: optionalMacFrom(wire.mac, `${field}.mac`),
    bridge: textFrom(wire.bridge),
    guestAddress: optionalAddressFrom(wire.guestAddress, `${field}.guest_address`),
  };
}

/** A key is a path: any character but NUL. */
export function keyFrom(text: string, field: string): string {
  if (text === '') throw missing(field);
  if (text.length > MAX_KEY) throw invalid(`${field} is longer than ${MAX_KEY} characters`, { field });
  return text;
}

/**
 * Text that a host found somewhere. It is cut and cleaned, not refused: one VM with an odd name must not cost its host
 * the session.
 */
export function textFrom(text: string, hidden = /\p{C}/gu): string | undefined {
  return text === '' ? undefined : text.slice(0, MAX_TEXT).replaceAll(hidden, '\u{fffd}');
}

const MAX_WARNINGS = 32;

export function warningsFrom(wire: readonly string[]): readonly string[] {
  return wire.slice(0, MAX_WARNINGS).flatMap((text) => textFrom(text) ?? []);
}

const MAX_DETAILS = 32;

export function detailsFrom(wire: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  const kept = Object.entries(wire).slice(0, MAX_DETAILS);
  // What a program printed has lines.
  const clean = (key: string, value: string): string | undefined =>
    key === 'output' ? textFrom(value.replaceAll('\r\n', '\n'), /(?![\t\n])\p{C}/gu) : textFrom(value);
  return Object.fromEntries(kept.map(([key, value]) => [textFrom(key) ?? '', clean(key, value) ?? '']));
}

export function heartbeatFrom(wire: WireHeartbeat): Heartbeat {
  const metrics = Object.entries(wire.metrics).map(([key, value]) => [key, metricsFrom(value, key)] as const);
  return { memoryFreeMib: wire.memoryFreeMib, metrics: new Map(metrics) };
}

function metricsFrom(wire: WireMetrics, key: string): VmMetrics {
  const { sampledAt, ...counters } = wire;
  const field = `heartbeat.metrics["${key}"]`;
  if (!(counters.cpuSeconds >= 0)) throw invalid(`${field}.cpu_seconds is negative or no number`, { field });
  return { ...counters, sampledAtMs: optionalMsFrom(sampledAt, `${field}.sampled_at`) };
}

function firstTwice<T>(values: readonly T[]): T | undefined {
  const seen = new Set<T>();
  for (const value of values) {
    if (seen.has(value)) return value;
    seen.add(value);
  }
  return undefined;
}
