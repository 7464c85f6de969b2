import { notFound, wrongState, type AppError } from '../../shared/errors.js';
import { installerText } from '../../shared/domain/installer.js';
import type { MakeSource } from '../../shared/domain/make-source.js';
import type { VmShape } from '../../shared/domain/vm-shape.js';
import { refuseUnreachable } from '../domain/address-plan.js';
import type { HostId } from '../domain/vm.js';
import { extraVifs, refuseBridges } from './extra-vif.js';
import type { Fleet } from './fleet.js';
import type { Origin, Origins } from './vm-origin.js';

/** As the tutorial's domU has it; its host's agent takes the same. */
const MEMORY_MIB = 512;
const VCPUS = 1;
const MIB = 1024 * 1024;
/** A minimal Debian that was just installed, or all of a smaller disk. */
const INSTALLED_MIB = 300;

/**
 * Where VMs can be made of something that is no VM: on every host.
 *
 * @param hosts names; empty: all
 * @throws {AppError} `not_found` for an unknown host, or if there is none
 */
export function makeOrigins(fleet: Fleet, source: MakeSource, hosts: readonly string[], shape: VmShape): Origins {
  const views = hosts.length === 0 ? fleet.hosts() : hosts.map((name) => fleet.host(name));
  if (views.length === 0) throw notFound('there is no host', { hint: 'domherd host add NODE' });
  const looked = views.map(({ host }) => {
    const folder = host.facts?.cfgFolder;
    const error = refuseHost(fleet, host.id, host.name, folder) ?? refuseBridges(fleet, host.id, shape);
    return { hostId: host.id, folder, error };
  });
  return {
    origins: looked.flatMap(({ hostId, folder, error }) =>
      error || folder === undefined ? [] : [originOn(hostId, folder, source, shape)],
    ),
    refusals: looked.flatMap(({ hostId, error }) => (error ? [{ hostId, error }] : [])),
  };
}

function originOn(hostId: HostId, folder: string, source: MakeSource, shape: VmShape): Origin {
  const { memoryMib = MEMORY_MIB, vcpus = VCPUS } = shape;
  return {
    ...{ hostId, memoryMib, vcpus },
    ...textsOf(source),
    vifs: [{ index: 0, mac: undefined, bridge: undefined, guestAddress: undefined }, ...extraVifs(shape, 1)],
    leastBytes: leastBytes(source, shape),
    keyOf: (vm) => `${folder}/${vm}.cfg`,
    order: (vm, uuid) => ({ kind: 'make', name: vm, uuid, shape, source }),
  };
}

/** An image has at least its own bytes in it; a raw one with long runs of zeros has fewer, and counts with them. */
function leastBytes(source: MakeSource, { diskMib = INSTALLED_MIB }: VmShape): number {
  return source.kind === 'image' ? source.sizeBytes : Math.min(diskMib, INSTALLED_MIB) * MIB;
}

function textsOf(source: MakeSource): Pick<Origin, 'label' | 'what' | 'detail'> {
  if (source.kind === 'image') {
    const { name } = source;
    return { label: name, what: `of the image ${name}`, detail: `image ${name}: cfg and disks` };
  }
  const label = installerText(source);
  const from = source.tarball ?? source.mirror ?? "the host's own mirror";
  return { label, what: `by ${label}`, detail: `${label}: cfg and disks, from ${from}` };
}

function refuseHost(fleet: Fleet, hostId: HostId, name: string, folder: string | undefined): AppError | undefined {
  const unreachable = refuseUnreachable('a VM', name, fleet.isReachable(hostId));
  if (unreachable) return unreachable;
  if (folder !== undefined) return undefined;
  return wrongState(`the agent of ${name} is older: it makes no VMs of images`, {
    hint: `domherd host upgrade ${name}`,
  });
}
