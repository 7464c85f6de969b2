import { bridgeError, chooseBridge, type BridgeChoice, type HostBridges } from '../../shared/domain/bridge.js';
import { formatIpv4, type Ipv4 } from '../../shared/domain/ipv4.js';
import { formatMac } from '../../shared/domain/mac.js';
import { AppError, invalid, notFound, wrongState } from '../../shared/errors.js';
import type { Lease } from './lease.js';
import { whyGone, type ObservedVif, type Vm } from './vm.js';

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
  /** `undefined`: not known; the host looks at them by itself. */
  readonly bridges?: HostBridges | undefined;
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
  /** For vifs whose cfg names no bridge that exists. */
  readonly bridge?: string | undefined;
}

/** @throws {AppError} `invalid` if an address was chosen for more than one vif */
export function planAddress(vms: readonly AddressFacts[], intent: AddressIntent): AddressPlan {
  if (intent.address !== undefined && (vms.length !== 1 || (vms[0]?.vm.vifs.length ?? 0) > 1)) {
    throw invalid(`address ${formatIpv4(intent.address)} was chosen for more than one vif`, {
      hint: 'name one VM with one vif, or leave the choice to domherd',
    });
  }
  const refusals = vms.map((facts) => refuseAddress(facts, intent.bridge));
  return {
    steps: vms.flatMap((facts, n) => (refusals[n] ? [] : stepsFor(facts, intent))),
    warnings: refusals.flatMap((refusal) => (refusal ? [warningOf(refusal)] : [])),
  };
}

/** Why a VM cannot be given addresses now; `undefined` if it can. */
export function refuseAddress(facts: AddressFacts, wantedBridge?: string): AppError | undefined {
  const { vm, host, isReachable } = facts;
  const label = `VM ${vm.name}@${host}`;
  if (vm.isGone) return notFound(`${label} is ${whyGone(vm)}`, { vm: vm.name, host });
  const refusal = refuseUnreachable(label, host, isReachable);
  if (refusal) return refusal;
  if (vm.problem !== undefined) return wrongState(`${label} cannot be managed: ${vm.problem}`, { vm: vm.name, host });
  if (vm.cfgPath === undefined) return wrongState(`${label} has no cfg file`, { vm: vm.name, host });
  if (vm.vifs.length === 0) {
    return wrongState(`${label} has no vif`, { vm: vm.name, host, hint: 'add a vif line to its cfg' });
  }
  if (vm.state === 'stopped') return refuseBridges(facts, wantedBridge);
  return wrongState(`${label} is ${vm.state}`, {
    ...{ vm: vm.name, host, state: vm.state },
    hint: `domherd vm shutdown ${vm.name}@${host}`,
  });
}

function refuseBridges(facts: AddressFacts, wanted: string | undefined): AppError | undefined {
  const { vm, host } = facts;
  for (const vif of vm.vifs) {
    const choice = choiceFor(vif, facts, wanted);
    if (choice?.kind === 'refused') return bridgeError(choice.refusal, `${vm.name}@${host}`, vif.index);
  }
  return undefined;
}

function choiceFor(vif: ObservedVif, { bridges }: AddressFacts, wanted: string | undefined): BridgeChoice | undefined {
  return bridges && chooseBridge({ named: vif.bridge, wanted }, bridges);
}

/** Dry runs have no results, so a warning has the hint too. */
function warningOf({ message, details }: AppError): string {
  return details['hint'] === undefined ? message : `${message} (${details['hint']})`;
}

/** The refusal of anything that needs the VM's host; `undefined` if the host can be told. */
export function refuseUnreachable(label: string, host: string, isReachable: boolean): AppError | undefined {
  if (isReachable) return undefined;
  return new AppError('unavailable', `${label} cannot be reached: host ${host} is not online`, { host });
}

function stepsFor(facts: AddressFacts, intent: AddressIntent): PlannedStep[] {
  const { vm, host, held } = facts;
  const step = (action: string, detail: string): PlannedStep => ({ vm: vm.name, host, action, detail });
  return vm.vifs.flatMap((vif) => {
    const lease = held.find((each) => each.owner.kind === 'vif' && each.owner.vifIndex === vif.index);
    const next = nextOf(lease, intent);
    const name = `vif ${vif.index}`;
    return [
      step(lease && next.isKept ? 'keep lease' : 'take lease', `${name}: ${next.address} of ${intent.reservation}`),
      step('write cfg', `${name}: MAC ${showMac(vif)} -> ${next.mac}`),
      ...bridgeSteps(vif, choiceFor(vif, facts, intent.bridge)).map(([action, detail]) => step(action, detail)),
      step('write guest', `${name}: ${showAddress(vif)} -> ${next.address}`),
      step('bind lease', name),
    ];
  });
}

function bridgeSteps(
  vif: ObservedVif,
  choice: BridgeChoice | undefined,
): readonly (readonly [action: string, detail: string])[] {
  const name = `vif ${vif.index}`;
  switch (choice?.kind) {
    case 'kept':
      return [['keep bridge', `${name}: ${choice.bridge}, ${choice.reason}`]];
    case 'chosen':
      return [['write bridge', `${name}: ${vif.bridge ?? 'none'} -> ${choice.bridge}, ${choice.reason}`]];
    default:
      return [];
  }
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
