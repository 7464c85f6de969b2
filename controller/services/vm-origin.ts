import { invalid, notFound, wrongState, type AppError } from '../../shared/errors.js';
import type { MakeSource } from '../../shared/domain/make-source.js';
import type { VmShape } from '../../shared/domain/vm-shape.js';
import { refuseUnreachable } from '../domain/address-plan.js';
import type { HostId, ObservedVif, Vm } from '../domain/vm.js';
import type { MakeOrder } from '../ports/agent-link.js';
import type { Fleet } from './fleet.js';
import { makeOrigins } from './vm-image-origin.js';

/** What VMs are made of. */
export type CreateSource = LikeSource | MakeSource;

export interface LikeSource {
  readonly kind: 'like';
  /** NAME: the VM of that name on each host. NAME@HOST: that one, and copies stay on its host. */
  readonly like: string;
}

/** Something on one host of which VMs can be made there. */
export interface Origin {
  readonly hostId: HostId;
  /** For people: what it is, and what its VMs are: "a copy of domU@dom0-1". */
  readonly label: string;
  readonly what: string;
  /** For people: what is made of it. */
  readonly detail: string;
  /** Of the VMs. */
  readonly memoryMib: number;
  readonly vcpus: number;
  readonly vifs: readonly ObservedVif[];
  /** Key of the VM whose disks are copied. */
  readonly copiedKey?: string | undefined;
  /** Where the cfg of a VM of that name is to be: its key. */
  keyOf(name: string): string;
  order(name: string, uuid: string): MakeOrder;
}

export interface Origins {
  /** One a host. */
  readonly origins: readonly Origin[];
  /** Why there is none on a host that could have been one. */
  readonly refusals: readonly { readonly hostId: HostId; readonly error: AppError }[];
}

/**
 * Where VMs can be made of `source`.
 *
 * @param hosts names; empty: all
 * @throws {AppError} `not_found`, `invalid` (a host without it)
 */
export function findOrigins(fleet: Fleet, source: CreateSource, hosts: readonly string[], shape: VmShape): Origins {
  if (source.kind !== 'like') return makeOrigins(fleet, source, hosts, shape);
  const found = vmsLike(fleet, source.like, hosts).map((vm) => ({ vm, error: refuseCopy(fleet, vm) }));
  return {
    origins: found.flatMap(({ vm, error }) => (error ? [] : [copyOrigin(fleet, vm, shape)])),
    refusals: found.flatMap(({ vm, error }) => (error ? [{ hostId: vm.hostId, error }] : [])),
  };
}

function copyOrigin(fleet: Fleet, vm: Vm, shape: VmShape): Origin {
  const folder = vm.key.slice(0, vm.key.lastIndexOf('/'));
  const label = fleet.label(vm);
  return {
    hostId: vm.hostId,
    label,
    what: `a copy of ${label}`,
    detail: `${label}: cfg and disks, new ssh host keys and machine id`,
    memoryMib: shape.memoryMib ?? vm.memoryMib,
    vcpus: shape.vcpus ?? vm.vcpus,
    vifs: vm.vifs,
    copiedKey: vm.key,
    keyOf: (name) => `${folder}/${name}.cfg`,
    order: (name, uuid) => ({ kind: 'copy', sourceKey: vm.key, name, uuid, shape }),
  };
}

function vmsLike(fleet: Fleet, like: string, hosts: readonly string[]): readonly Vm[] {
  const at = like.lastIndexOf('@');
  const [name, only] = at < 0 ? [like, undefined] : [like.slice(0, at), like.slice(at + 1)];
  const wanted = only === undefined ? hosts : [only];
  const all = fleet.vms.byName(name).filter((vm) => !vm.isGone);
  const isOn = (vm: Vm, host: string): boolean => {
    const hostName = fleet.hostName(vm.hostId);
    return hostName === host || hostName.split('.')[0] === host;
  };
  if (only !== undefined && hosts.some((host) => !all.some((vm) => isOn(vm, host) && isOn(vm, only)))) {
    throw invalid(`copies of ${like} stay on ${only}`, { hint: 'leave --on out, or give --like without a host' });
  }
  const without = wanted.find((host) => !all.some((vm) => isOn(vm, host)));
  if (all.length === 0 || without !== undefined) {
    const where = without === undefined ? '' : ` on ${without}`;
    throw notFound(`there is no VM ${name}${where} to copy`, { vm: like, hint: 'see domherd vm list' });
  }
  const chosen = wanted.length === 0 ? all : all.filter((vm) => wanted.some((host) => isOn(vm, host)));
  const twice = chosen.find((vm) => chosen.some((other) => other !== vm && other.hostId === vm.hostId));
  if (twice) throw invalid(`${fleet.label(twice)} is two VMs`, { hint: 'rename one: name= in its cfg' });
  return chosen;
}

function refuseCopy(fleet: Fleet, source: Vm): AppError | undefined {
  const label = `VM ${fleet.label(source)}`;
  const unreachable = refuseUnreachable(label, fleet.hostName(source.hostId), fleet.isReachable(source.hostId));
  if (unreachable) return unreachable;
  if (source.problem !== undefined) return wrongState(`${label} cannot be copied: ${source.problem}`);
  if (source.cfgPath === undefined) return wrongState(`${label} has no cfg file to copy`);
  if (source.vifs.length === 0) return wrongState(`${label} has no vif: its copies could have no address`);
  if (source.state === 'stopped') return undefined;
  return wrongState(`${label} is ${source.state}: it is copied while it is stopped`, {
    state: source.state,
    hint: `domherd vm shutdown ${fleet.label(source)}`,
  });
}
