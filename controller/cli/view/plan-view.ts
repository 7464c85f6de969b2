import type { HostPlan } from '../../../shared/gen/domherd/v1/vm.js';
import { withMore, type Column, type View } from '../output.js';

const COLUMNS: readonly Column<HostPlan>[] = [
  { title: 'HOST', text: ({ host }) => host },
  { title: 'VMS', text: ({ placed }) => String(placed) },
  {
    title: 'FITS',
    text: ({ fits }) => String(fits),
    colour: ({ fits }) => (fits === 0 ? 'red' : undefined),
  },
  { title: 'LIMITED BY', text: ({ limits }) => limits[0]?.kind ?? '-' },
  { title: 'VCPUS/CORES', text: coresText },
  { title: 'WHY', text: ({ limits }) => limits[0]?.detail ?? '-' },
];

const MORE_COLUMNS: readonly Column<HostPlan>[] = [
  { title: 'MEMORY EACH', text: ({ memoryMib }) => (memoryMib === 0 ? '-' : `${String(memoryMib)} MiB`) },
  { title: 'OTHER LIMITS', text: ({ limits }) => limits.slice(1).map(limitText).join('; ') || '-' },
];

/** With the VMs that would be made, and whether that is more than there are. */
function coresText({ placed, vcpus, vcpusTaken, cpus }: HostPlan): string {
  const wanted = vcpusTaken + placed * vcpus;
  return `${String(wanted)}/${cpus === 0 ? '?' : String(cpus)}${cpus > 0 && wanted > cpus ? ' shared' : ''}`;
}

function limitText({ kind, fits, detail }: HostPlan['limits'][number]): string {
  return `${kind} ${String(fits)}: ${detail}`;
}

export const PLAN_VIEW: View<HostPlan> = {
  columns: COLUMNS,
  wide: withMore(COLUMNS, MORE_COLUMNS),
  json: ({ host, placed, fits, limits, cpus, vcpusTaken, vcpus, memoryMib }) => ({
    host,
    placed,
    fits,
    limits: limits.map(({ kind, fits: room, detail }) => ({ kind, fits: room, detail })),
    cpus: cpus || null,
    vcpusTaken,
    vcpus,
    memoryMib,
  }),
  name: ({ host }) => host,
};
