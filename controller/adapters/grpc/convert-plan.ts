import type { HostPlan, PlanVmsResponse } from '../../../shared/gen/domherd/v1/vm.js';
import { capacityOf, totalCapacity, type HostLimit } from '../../domain/placement.js';
import type { CreatePlan } from '../../services/vm-creator.js';
import type { Site, Survey } from '../../services/vm-placer.js';

export function planToWire(plan: CreatePlan): PlanVmsResponse {
  const { survey, problem, placed } = plan;
  const hosts = [
    ...survey.sites.map((site) => siteToWire(site, placed.filter((hostId) => hostId === site.origin.hostId).length)),
    ...survey.others.map(otherToWire),
  ];
  return {
    hosts: hosts.sort((a, b) => (a.host < b.host ? -1 : 1)),
    wanted: plan.wanted,
    fits: totalCapacity(survey.sites),
    reservation: plan.reservation,
    freeAddresses: plan.freeAddresses,
    problem: problem?.message ?? '',
    problemCode: problem?.code ?? '',
    problemDetails: { ...problem?.details },
  };
}

function siteToWire(site: Site, placed: number): HostPlan {
  const { name: host, cpus, vcpusTaken, vcpus, origin } = site;
  const limits = site.limits.toSorted((a, b) => a.fits - b.fits).map(limitToWire);
  return { host, placed, fits: capacityOf(site), limits, cpus, vcpusTaken, vcpus, memoryMib: origin.memoryMib };
}

function otherToWire({ name: host, cpus, limit }: Survey['others'][number]): HostPlan {
  const nothing = { placed: 0, fits: 0, vcpusTaken: 0, vcpus: 0, memoryMib: 0 };
  return { ...nothing, host, cpus, limits: [limitToWire(limit)] };
}

function limitToWire({ kind, fits, detail }: HostLimit): HostPlan['limits'][number] {
  return { kind, fits, detail };
}
