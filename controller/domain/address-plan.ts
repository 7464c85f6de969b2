import { formatIpv4, type Ipv4 } from '../../shared/domain/ipv4.js';
import { formatMac } from '../../shared/domain/mac.js';
import { AppError, invalid, notFound, wrongState } from '../../shared/errors.js';
import type { Lease } from './lease.js';
import type { ObservedVif, Vm } from './vm.js';

/** One line of a plan, for people. */
export interface PlannedStep {
  readonly vm: string;
  readonly host: string;
  /** "take lease", "write cfg", ... */
  readonly action: string;
  readonly detail: string;
}

/** What is known of a VM when it is to get its addresses. */
export interface AddressFacts {
  readonly vm: Vm;
  readonly host: string;
  /** Its host is connected and has told its state. */
  readonly isReachable: boolean;
  /** What its vifs hold in the reservation. */
  readonly held: readonly Lease[];
}

export interface AddressPlan {
  readonly steps: readonly PlannedStep[];
  /** VMs that will be refused, and why. */
  readonly warnings: readonly string[];
}

export interface AddressIntent {
  readonly reservation: string;
  /** A chosen address, for one VM with one vif. */
  readonly address: Ipv4 | undefined;
}

/** @throws {AppError} `invalid` if an address was chosen for more than one vif */
export function planAddress(vms: readonly AddressFacts[], intent: AddressIntent): AddressPlan {
  if (intent.address !== undefined && (vms.length !== 1 || (vms[0]?.vm.vifs.length ?? 0) > 1)) {
    throw invalid(`address ${formatIpv4(intent.address)} was chosen for more than one vif`, {
      hint: 'name one VM with one vif, or leave the choice to domherd',
    });
  }
  const refusals = vms.map(refuseAddress);
  return {
    steps: vms.flatMap((facts, n) => (refusals[n] ? [] : stepsFor(facts, intent))),
    warnings: refusals.flatMap((refusal) => (refusal ? [refusal.message] : [])),
  };
}

/** Why a VM cannot be given addresses now; `undefined` if it can. */
export function refuseAddress({ vm, host, isReachable }: AddressFacts): AppError | undefined {
  const label = `VM ${vm.name}@${host}`;
  if (vm.isGone) return notFound(`${label} is gone from its host`, { vm: vm.name, host });
  const refusal = refuseUnreachable(label, host, isReachable);
  if (refusal) return refusal;
  if (vm.problem !== undefined) return wrongState(`${label} cannot be managed: ${vm.problem}`, { vm: vm.name, host });
  if (vm.cfgPath === undefined) return wrongState(`${label} has no cfg file`, { vm: vm.name, host });
  if (vm.vifs.length === 0) {
    return wrongState(`${label} has no vif`, { vm: vm.name, host, hint: 'add a vif line to its cfg' });
  }
  if (vm.state === 'stopped') return undefined;
  return wrongState(`${label} is ${vm.state}`, { vm: vm.name, host, state: vm.state, hint: 'shut it down first' });
}

/** The refusal of anything that needs the VM's host; `undefined` if the host can be told. */
export function refuseUnreachable(label: string, host: string, isReachable: boolean): AppError | undefined {
  if (isReachable) return undefined;
  return new AppError('unavailable', `${label} cannot be reached: host ${host} is not online`, { host });
}

function stepsFor({ vm, host, held }: AddressFacts, intent: AddressIntent): PlannedStep[] {
  const step = (action: string, detail: string): PlannedStep => ({ vm: vm.name, host, action, detail });
  return vm.vifs.flatMap((vif) => {
    const lease = held.find((each) => each.owner.kind === 'vif' && each.owner.vifIndex === vif.index);
    const next = nextOf(lease, intent);
    const name = `vif ${vif.index}`;
    return [
      step(lease && next.isKept ? 'keep lease' : 'take lease', `${name}: ${next.address} of ${intent.reservation}`),
      step('write cfg', `${name}: MAC ${showMac(vif)} -> ${next.mac}`),
      step('write guest', `${name}: ${showAddress(vif)} -> ${next.address}`),
      step('bind lease', name),
    ];
  });
}

interface NextAddress {
  readonly address: string;
  readonly mac: string;
  readonly isKept: boolean;
}

function nextOf(lease: Lease | undefined, { address }: AddressIntent): NextAddress {
  if (lease && (address === undefined || address === lease.address)) {
    return { address: formatIpv4(lease.address), mac: formatMac(lease.mac), isKept: true };
  }
  const text = address === undefined ? 'the next free address' : formatIpv4(address);
  return { address: text, mac: "the lease's", isKept: false };
}

function showMac(vif: ObservedVif): string {
  return vif.mac === undefined ? 'none' : formatMac(vif.mac);
}

function showAddress(vif: ObservedVif): string {
  return vif.guestAddress === undefined ? 'unknown' : formatIpv4(vif.guestAddress);
}
