import type { Lease as WireLease } from '../../../shared/gen/domherd/v1/lease.js';
import type {
  Vif as WireVif,
  Vm as WireVm,
  VmMetrics as WireMetrics,
  VmProgress as WireProgress,
  VmSelector as WireSelector,
} from '../../../shared/gen/domherd/v1/vm.js';
import { formatIpv4 } from '../../../shared/domain/ipv4.js';
import { formatMac } from '../../../shared/domain/mac.js';
import { invalid } from '../../../shared/errors.js';
import type { ObservedVif } from '../../domain/vm.js';
import type { VmSelector } from '../../domain/vm-selector.js';
import type { VmMetrics } from '../../domain/vm-metrics.js';
import type { VmProgress } from '../../services/vm-progress.js';
import type { LeaseView, VmView } from '../../services/vm-query.js';
import { missing, timestampFromMs } from './convert.js';
import { vmStateToWire } from './convert-observation.js';

/** How a lease is written, by whoever knows the owners. */
export type LeaseWriter = (view: LeaseView) => WireLease;

const MAX_NAMES = 4_096;
const MAX_NAME = 512;

/** @throws {AppError} `invalid` if it is unset */
export function selectorFrom(wire: WireSelector | undefined, field: string): VmSelector {
  if (!wire) throw missing(field);
  if (wire.names.length > MAX_NAMES) throw invalid(`${field}.names has more than ${MAX_NAMES} entries`, { field });
  const bad = wire.names.findIndex((name) => name === '' || name.length > MAX_NAME);
  if (bad < 0) return wire;
  throw invalid(`${field}.names[${bad}] is empty or longer than ${MAX_NAME} characters`, { field });
}

export function vmToWire(view: VmView, writeLease: LeaseWriter): WireVm {
  const { vm } = view;
  return {
    id: vm.id,
    name: vm.name,
    host: view.host,
    cfgPath: vm.cfgPath ?? '',
    uuid: vm.uuid ?? '',
    state: vmStateToWire(vm.state),
    simulated: view.isSimulated,
    memoryMib: vm.memoryMib,
    vcpus: vm.vcpus,
    vifs: vm.vifs.map((vif) => vifToWire(vif, view.leases.get(vif.index), writeLease)),
    observedAt: timestampFromMs(view.observedAtMs),
    stale: view.isStale,
    problem: vm.problem ?? (vm.isGone ? 'gone from its host' : ''),
    metrics: view.metrics && metricsToWire(view.metrics),
    hostKeys: [...(vm.hostKeys ?? [])],
    labels: { ...view.labels },
    autostart: vm.isAutostarted ?? false,
  };
}

function vifToWire(vif: ObservedVif, lease: LeaseView | undefined, writeLease: LeaseWriter): WireVif {
  return {
    index: vif.index,
    mac: vif.mac === undefined ? '' : formatMac(vif.mac),
    bridge: vif.bridge ?? '',
    guestAddress: vif.guestAddress === undefined ? '' : formatIpv4(vif.guestAddress),
    lease: lease && writeLease(lease),
  };
}

function metricsToWire({ sampledAtMs, ...counters }: VmMetrics): WireMetrics {
  return { ...counters, sampledAt: timestampFromMs(sampledAtMs) };
}

export function progressToWire(progress: VmProgress, writeLease: LeaseWriter): WireProgress {
  switch (progress.kind) {
    case 'plan': {
      const steps = progress.steps.map((step) => ({ ...step }));
      return { progress: { $case: 'plan', value: { steps, warnings: [...progress.warnings] } } };
    }
    case 'step': {
      const { vm, host, message, percent } = progress;
      return { progress: { $case: 'step', value: { vm, host, message, percent } } };
    }
    case 'result': {
      const { vm, host, code, message, details, state, warnings = [] } = progress;
      const value = { vm, host, errorCode: code ?? '', message, details: { ...details }, warnings: [...warnings] };
      return { progress: { $case: 'result', value: { ...value, state: state && vmToWire(state, writeLease) } } };
    }
  }
}
