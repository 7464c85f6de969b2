import { AppError } from '../../shared/errors.js';

export const PLACEMENTS = ['spread', 'pack'] as const;
/** Even over the hosts, or as few hosts as will do. */
export type Placement = (typeof PLACEMENTS)[number];

/** A host that could take VMs. */
export interface PlaceableHost {
  readonly name: string;
  /** Of Xen, MiB; what stopped VMs will want is not taken off. */
  readonly freeMib: number;
  /** What one VM takes there. */
  readonly memoryMib: number;
}

export interface PlacedVm {
  readonly name: string;
  readonly host: string;
}

/** What a domain takes besides its memory: page tables, grant tables, shadow; MiB. Xen's own figure is 1 to 10. */
const OVERHEAD_MIB = 16;

/** How many VMs fit into the host's free memory. */
export function capacityOf({ freeMib, memoryMib }: PlaceableHost): number {
  return Math.max(0, Math.floor(freeMib / (memoryMib + OVERHEAD_MIB)));
}

/**
 * A host for each name, in their order.
 *
 * @throws {AppError} `exhausted` if they do not all fit, with what fits where
 */
export function placeVms(
  names: readonly string[],
  hosts: readonly PlaceableHost[],
  placement: Placement,
): readonly PlacedVm[] {
  const rest = new Map(hosts.map((host) => [host.name, capacityOf(host)]));
  const total = [...rest.values()].reduce((sum, count) => sum + count, 0);
  if (names.length > total) throw tooMany(names.length, total, hosts);
  const given = new Map<string, number>();
  return names.map((name) => {
    const host = nextHost(rest, given, placement);
    rest.set(host, (rest.get(host) ?? 0) - 1);
    given.set(host, (given.get(host) ?? 0) + 1);
    return { name, host };
  });
}

/** Spread: the one with the fewest, of those the one with most room. Pack: the one with least room that is left. */
function nextHost(rest: ReadonlyMap<string, number>, given: ReadonlyMap<string, number>, placement: Placement): string {
  const open = [...rest].filter(([, count]) => count > 0);
  const order = (a: readonly [string, number], b: readonly [string, number]): number => {
    const [moreA, moreB] = [given.get(a[0]) ?? 0, given.get(b[0]) ?? 0];
    if (placement === 'spread') return moreA - moreB || b[1] - a[1] || (a[0] < b[0] ? -1 : 1);
    return moreB - moreA || a[1] - b[1] || (a[0] < b[0] ? -1 : 1);
  };
  return open.sort(order)[0]?.[0] ?? '';
}

function tooMany(wanted: number, total: number, hosts: readonly PlaceableHost[]): AppError {
  const limits = hosts.map((host) => `${host.name} ${capacityOf(host)} (${host.freeMib} MiB free)`);
  return new AppError('exhausted', `${wanted} VMs do not fit: the hosts have memory for ${total}`, {
    fits: String(total),
    hosts: limits.join(', '),
    hint: total === 0 ? 'give them less --memory, or stop others' : `--count ${total} would fit, or less --memory`,
  });
}
