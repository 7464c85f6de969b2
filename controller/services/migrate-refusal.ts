import { refuseCreate } from '../../shared/domain/bridge.js';
import type { Storage } from '../../shared/domain/vm-shape.js';
import { AppError, invalid, wrongState } from '../../shared/errors.js';
import type { Host } from '../domain/host.js';
import { memoryLimit } from '../domain/placement.js';
import type { Vm } from '../domain/vm.js';
import type { Fleet } from './fleet.js';

/** Where a VM's cfg is to be on its new host: its key there. */
export function keyThere(vm: Vm, host: Host): string {
  const file = (vm.cfgPath ?? vm.key).split('/').pop() ?? '';
  return `${host.facts?.cfgFolder ?? '/etc/xen'}/${file}`;
}

export function isUp({ state }: Pick<Vm, 'state'>): boolean {
  return state === 'running' || state === 'starting' || state === 'paused';
}

/** Whether both hosts see its disks is for them to say. */
export function refuseLive(label: string, { state }: Pick<Vm, 'state'>): AppError | undefined {
  if (state === 'running') return undefined;
  return wrongState(`${label} cannot go live: it is ${state}`, {
    state,
    hint: '--cold takes it there with its disks, shut down meanwhile',
  });
}

/** Why a VM that can be told orders cannot go to that host, as far as the controller knows. */
export function refuseTarget(fleet: Fleet, vm: Vm, host: Host): AppError | undefined {
  const label = `VM ${fleet.label(vm)}`;
  if (vm.problem !== undefined) return wrongState(`${label} cannot be managed: ${vm.problem}`, { vm: vm.name });
  if (vm.cfgPath === undefined) return wrongState(`${label} has no cfg file: it cannot go to another host`);
  if (!isUp(vm) && vm.state !== 'stopped') {
    const hint = vm.state === 'crashed' ? 'destroy it first' : 'wait until it runs or is stopped';
    return wrongState(`${label} is ${vm.state}`, { vm: vm.name, state: vm.state, hint });
  }
  if (!fleet.isReachable(host.id)) {
    return new AppError('unavailable', `host ${host.name} is not online`, {
      host: host.name,
      hint: 'see domherd host list',
    });
  }
  if (fleet.isSimulated(vm.hostId) !== host.isSimulated) {
    return invalid(`${label} and ${host.name} are not both simulated: nothing real can go from one to the other`);
  }
  return refuseTaken(fleet, vm, host) ?? refuseBridges(fleet, vm, host) ?? refuseMemory(fleet, vm, host);
}

/** What cannot be kept there as is asked for; what its host has not told is for its agent to refuse. */
export function refuseStorage(fleet: Fleet, host: Host, storage: Storage | undefined): AppError | undefined {
  const stores = fleet.storesOf(host.id);
  if (storage !== 'lvm-thin' || stores === undefined || stores.some(({ kind }) => kind === 'thin-pool')) {
    return undefined;
  }
  return new AppError('exhausted', `the disks cannot be kept in LVM: ${host.name} has no thin pool`, {
    host: host.name,
    hint: `make one on ${host.name} (lvcreate --type thin-pool), or leave --storage out`,
  });
}

/** A vif whose own script uses no Linux bridge cannot be told from here, but by what its host thinks of it. */
function refuseBridges(fleet: Fleet, vm: Vm, host: Host): AppError | undefined {
  const [here, there] = [fleet.bridgesOf(vm.hostId), fleet.bridgesOf(host.id)];
  if (here === undefined || there === undefined) return undefined;
  const vifs = vm.vifs
    .map(({ index, bridge }) => ({ index, named: bridge }))
    .filter((vif) => refuseCreate(vm.name, [vif], here) === undefined);
  const refusal = refuseCreate(vm.name, vifs, there);
  if (!refusal) return undefined;
  return new AppError(refusal.code, `VM ${fleet.label(vm)} cannot run on ${host.name}: ${refusal.message}`, {
    ...refusal.details,
    hint: `make that bridge on ${host.name}, or take another host: domherd bridge list --host ${host.name}`,
  });
}

function refuseTaken(fleet: Fleet, vm: Vm, host: Host): AppError | undefined {
  const key = keyThere(vm, host);
  const taken = fleet.vms.onHost(host.id).find((one) => !one.isGone && (one.name === vm.name || one.key === key));
  if (!taken) return undefined;
  return new AppError('already_exists', `there is a VM ${fleet.label(taken)} already: ${taken.cfgPath ?? taken.key}`, {
    vm: taken.name,
    hint: 'delete it, or take another host',
  });
}

/** One that is stopped wants no memory yet. */
function refuseMemory(fleet: Fleet, vm: Vm, host: Host): AppError | undefined {
  const freeMib = fleet.host(host.name).host.facts?.memoryFreeMib;
  if (!isUp(vm) || freeMib === undefined) return undefined;
  const { fits, detail } = memoryLimit(freeMib, vm.memoryMib);
  if (fits > 0) return undefined;
  return new AppError('exhausted', `${host.name} has not the memory for VM ${fleet.label(vm)}: ${detail}`, {
    free: String(freeMib),
    hint: 'shut VMs down there, or take another host: domherd host list',
  });
}
