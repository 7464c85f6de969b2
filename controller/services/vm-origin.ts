import type { HostStore } from '../../shared/domain/host-store.js';
import type { MakeSource } from '../../shared/domain/make-source.js';
import { AppError, invalid, notFound, wrongState } from '../../shared/errors.js';
import type { VmShape } from '../../shared/domain/vm-shape.js';
import { refuseUnreachable } from '../domain/address-plan.js';
import type { HostId, ObservedVif, Vm } from '../domain/vm.js';
import type { MakeOrder } from '../ports/agent-link.js';
import type { Fleet } from './fleet.js';
import { extraVifs, refuseBridges, refuseCount } from './extra-vif.js';
import { makeOrigins } from './vm-image-origin.js';
import type { CarryOrder } from './vm-carrier.js';

/** What VMs are made of. */
export type CreateSource = LikeSource | MakeSource;

export interface LikeSource {
  readonly kind: 'like';
  /** NAME: the VM of that name on each host. NAME@HOST: that one. Hosts that are asked for and have none get copies of it. */
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
  /** What the disks of each take at least, where nothing of that host is copied. */
  readonly leastBytes?: number | undefined;
  /** Mount point of the file system that those go to, where that is not for the host to choose. */
  readonly mount?: string | undefined;
  /** Where the cfg of a VM of that name is to be: its key. */
  keyOf(name: string): string;
  order(name: string, uuid: string): MakeOrder | CarryOrder;
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
 * @param hosts names of those that shall be such places too, if another host can send it there
 * @throws {AppError} `not_found`, `invalid` (two of that name on one host)
 */
export function findOrigins(fleet: Fleet, source: CreateSource, hosts: readonly string[], shape: VmShape): Origins {
  if (source.kind !== 'like') return makeOrigins(fleet, source, hosts, shape);
  const vms = vmsLike(fleet, source.like);
  const targets = [...new Set([...vms.map(({ hostId }) => hostId), ...hosts.map(hostIdIn(fleet))])];
  const found = targets.map((hostId) => {
    const own = vms.filter((vm) => vm.hostId === hostId);
    if (own.length > 1) throw twice(fleet, own[0]);
    return { hostId, ...(own[0] ? copyHere(fleet, own[0], shape) : copyFrom(fleet, vms, hostId, shape)) };
  });
  return {
    origins: found.flatMap(({ origin }) => origin ?? []),
    refusals: found.flatMap(({ hostId, error }) => (error ? [{ hostId, error }] : [])),
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
    vifs: [...vm.vifs, ...extraVifs(shape, vm.vifs.length)],
    copiedKey: vm.key,
    keyOf: (name) => `${folder}/${name}.cfg`,
    order: (name, uuid) => ({ kind: 'copy', sourceKey: vm.key, name, uuid, shape }),
  };
}

interface Found {
  readonly origin?: Origin;
  /** Why it is none. */
  readonly error?: AppError;
}

function copyHere(fleet: Fleet, vm: Vm, shape: VmShape): Found {
  const error = refuseCopy(fleet, vm, shape) ?? refuseBridges(fleet, vm.hostId, shape);
  return error ? { error } : { origin: copyOrigin(fleet, vm, shape) };
}

/** The host has no such VM: it gets a copy of one that another has, the first that can be copied. */
function copyFrom(fleet: Fleet, vms: readonly Vm[], hostId: HostId, shape: VmShape): Found {
  const refused = refuseBridges(fleet, hostId, shape);
  const errors = vms.map((vm) => refuseCopy(fleet, vm, shape) ?? refuseCarry(fleet, vm, hostId) ?? refused);
  const source = vms.find((_, n) => errors[n] === undefined);
  if (source === undefined) return { error: errors[0] ?? notFound('there is nothing to copy') };
  const { key: sourceKey, hostId: sourceHostId } = source;
  const origin = copyOrigin(fleet, source, shape);
  // It need not be where the source's host has them.
  const folder = fleet.host(fleet.hostName(hostId)).host.facts?.cfgFolder;
  const sent = sentDisks(fleet.storesOf(sourceHostId) ?? [], sourceKey);
  return {
    origin: {
      ...{ ...origin, hostId, copiedKey: undefined, ...sent },
      keyOf: (name) => (folder === undefined ? origin.keyOf(name) : `${folder}/${name}.cfg`),
      detail: `${origin.label}, sent here: cfg and disks, new ssh host keys and machine id`,
      order: (name, uuid) => ({ kind: 'carry', sourceHostId, sourceKey, name, uuid, shape: {} }),
    },
  };
}

/** What the disks of a VM hold at least, and where the largest goes, as far as its host has told: a file to its own path. */
function sentDisks(stores: readonly HostStore[], vmKey: string): Pick<Origin, 'leastBytes' | 'mount'> {
  const disks = stores.flatMap((store) =>
    store.disks.filter((disk) => disk.vmKey === vmKey).map((disk) => ({ ...disk, store })),
  );
  const [largest] = disks.toSorted((a, b) => b.sizeBytes - a.sizeBytes);
  if (largest === undefined) return {};
  const { kind, name } = largest.store;
  return {
    leastBytes: disks.reduce((sum, { usedBytes }) => sum + usedBytes, 0),
    mount: kind === 'file-system' ? name : undefined,
  };
}

function refuseCarry(fleet: Fleet, source: Vm, hostId: HostId): AppError | undefined {
  const [from, to] = [source.hostId, hostId].map((id) => fleet.hostName(id));
  if (!fleet.isReachable(hostId)) {
    return new AppError('unavailable', `host ${to ?? ''} is not online`, {
      host: to ?? '',
      hint: 'see domherd host list',
    });
  }
  if (fleet.isSimulated(source.hostId) === fleet.isSimulated(hostId)) return undefined;
  return invalid(`${from ?? ''} and ${to ?? ''} are not both simulated: nothing real can go from one to the other`);
}

/** @throws {AppError} `not_found` */
function vmsLike(fleet: Fleet, like: string): readonly Vm[] {
  const at = like.lastIndexOf('@');
  const [name, only] = at < 0 ? [like, undefined] : [like.slice(0, at), like.slice(at + 1)];
  const all = fleet.vms.byName(name).filter((vm) => !vm.isGone);
  const vms = only === undefined ? all : all.filter((vm) => isNamed(fleet.hostName(vm.hostId), only));
  if (vms.length > 0) return vms;
  const where = only === undefined ? '' : ` on ${only}`;
  throw notFound(`there is no VM ${name}${where} to copy`, { vm: like, hint: 'see domherd vm list' });
}

/** @throws {AppError} `not_found` */
function hostIdIn(fleet: Fleet): (host: string) => HostId {
  const views = fleet.hosts();
  return (wanted) => views.find(({ host }) => isNamed(host.name, wanted))?.host.id ?? fleet.host(wanted).host.id;
}

function isNamed(hostName: string, wanted: string): boolean {
  return hostName === wanted || hostName.split('.')[0] === wanted;
}

function twice(fleet: Fleet, vm: Vm | undefined): AppError {
  const label = vm ? fleet.label(vm) : '';
  return invalid(`${label} is two VMs`, { hint: 'rename one: name= in its cfg' });
}

function refuseCopy(fleet: Fleet, source: Vm, shape: VmShape): AppError | undefined {
  const label = `VM ${fleet.label(source)}`;
  const unreachable = refuseUnreachable(label, fleet.hostName(source.hostId), fleet.isReachable(source.hostId));
  if (unreachable) return unreachable;
  if (source.problem !== undefined) return wrongState(`${label} cannot be copied: ${source.problem}`);
  if (source.cfgPath === undefined) return wrongState(`${label} has no cfg file to copy`);
  if (source.vifs.length === 0) return wrongState(`${label} has no vif: its copies could have no address`);
  const tooMany = refuseCount(label, source.vifs.length, shape);
  if (tooMany) return tooMany;
  if (source.state === 'stopped') return undefined;
  return wrongState(`${label} is ${source.state}: it is copied while it is stopped`, {
    state: source.state,
    hint: `domherd vm shutdown ${fleet.label(source)}`,
  });
}
