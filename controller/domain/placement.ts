import { AppError } from '../../shared/errors.js';

export const PLACEMENTS = ['spread', 'pack'] as const;
/** Even over the hosts and their cores, or as few hosts as will do. */
export type Placement = (typeof PLACEMENTS)[number];

/** What can keep VMs from a host: it is not online, has nothing to make them of, or has no room. */
export const LIMIT_KINDS = ['host', 'source', 'label', 'memory', 'disk'] as const;
export type LimitKind = (typeof LIMIT_KINDS)[number];

/** What a host has for the VMs in one respect. */
export interface HostLimit {
  readonly kind: LimitKind;
  /** VMs; 0 or more. */
  readonly fits: number;
  /** For people: "8192 MiB free, 528 each". */
  readonly detail: string;
}

/** A host that VMs could be made on. */
export interface PlaceableHost {
  readonly name: string;
  /** None: nothing of it is known that bounds them. */
  readonly limits: readonly HostLimit[];
  /** Its CPUs; 0: not known. */
  readonly cpus: number;
  /** Of the VMs that run there or are being made. More vcpus than CPUs are no limit. */
  readonly vcpusTaken: number;
  /** Of one VM. */
  readonly vcpus: number;
}

export interface PlacedVm {
  readonly name: string;
  readonly host: string;
}

/** What a domain takes besides its memory: page tables, grant tables, shadow; MiB. Xen's own figure is 1 to 10. */
export const OVERHEAD_MIB = 16;

/**
 * @param freeMib of Xen, less what those will want that are being made; what stopped VMs will want is not taken off
 * @param memoryMib of one VM
 */
export function memoryLimit(freeMib: number, memoryMib: number): HostLimit {
  const eachMib = memoryMib + OVERHEAD_MIB;
  const fits = Math.max(0, Math.floor(freeMib / eachMib));
  return { kind: 'memory', fits, detail: `${Math.max(0, freeMib)} MiB free, ${eachMib} each` };
}

/**
 * VMs that are to be apart: one a host.
 *
 * @param what the label that they share, or their request
 * @param holder a VM of it that the host has already
 */
export function apartLimit(what: string, holder: string | undefined): HostLimit {
  const detail = holder === undefined ? `one of ${what} a host` : `one of ${what} a host, and ${holder} is there`;
  return { kind: 'label', fits: holder === undefined ? 1 : 0, detail };
}

/** What leaves the fewest; the first of several. */
export function tightestLimit({ limits }: PlaceableHost): HostLimit | undefined {
  return limits.reduce<HostLimit | undefined>(
    (least, each) => (least && least.fits <= each.fits ? least : each),
    undefined,
  );
}

/** How many VMs fit. */
export function capacityOf(host: PlaceableHost): number {
  return tightestLimit(host)?.fits ?? 0;
}

export function totalCapacity(hosts: readonly PlaceableHost[]): number {
  return hosts.reduce((sum, host) => sum + capacityOf(host), 0);
}

/**
 * A host for each name, in their order.
 *
 * @throws {AppError} `exhausted` if they do not all fit, with what fits where and what keeps more away
 */
export function placeVms(
  names: readonly string[],
  hosts: readonly PlaceableHost[],
  placement: Placement,
): readonly PlacedVm[] {
  const total = totalCapacity(hosts);
  if (names.length > total) throw tooMany(names.length, total, hosts);
  const rooms = hosts.map((host) => ({ host, rest: capacityOf(host), given: 0 }));
  const compare = placement === 'spread' ? bySpread : byPack;
  return names.map((name) => {
    const open = rooms.filter(({ rest }) => rest > 0);
    const room = open.reduce<Room | undefined>(
      (best, each) => (best && compare(best, each) <= 0 ? best : each),
      undefined,
    );
    if (room) {
      room.rest -= 1;
      room.given += 1;
    }
    return { name, host: room?.host.name ?? '' };
  });
}

interface Room {
  readonly host: PlaceableHost;
  rest: number;
  given: number;
}

/** The one with the fewest for its cores; of those the one with least to do, then with most room. */
function bySpread(a: Room, b: Room): number {
  const share = ({ host, given }: Room): number => (given * host.vcpus) / Math.max(1, host.cpus);
  const load = ({ host }: Room): number => host.vcpusTaken / Math.max(1, host.cpus);
  return share(a) - share(b) || load(a) - load(b) || b.rest - a.rest || byName(a, b);
}

/** One that has some; of those the one with least room that is left. */
function byPack(a: Room, b: Room): number {
  return b.given - a.given || a.rest - b.rest || byName(a, b);
}

function byName(a: Room, b: Room): number {
  return a.host.name < b.host.name ? -1 : 1;
}

const NOUNS: Readonly<Record<LimitKind, string>> = {
  host: 'room',
  source: 'room',
  label: 'places apart',
  memory: 'memory',
  disk: 'disk space',
};

const HINTS: Readonly<Partial<Record<LimitKind, string>>> = {
  memory: 'give them less --memory, or stop others',
  label: 'add hosts, or leave --apart out',
  disk: 'make room there: domherd disk list',
};

function tooMany(wanted: number, total: number, hosts: readonly PlaceableHost[]): AppError {
  const tightest = hosts.map((host) => ({ host, limit: tightestLimit(host) }));
  const kinds = [...new Set(tightest.flatMap(({ limit }) => limit?.kind ?? []))];
  const what = [...new Set(kinds.map((kind) => NOUNS[kind]))].join(' and ') || 'room';
  const lines = tightest.map(
    ({ host, limit }) => `${host.name} ${limit?.fits ?? 0} (${limit?.detail ?? 'nothing known'})`,
  );
  const [kind = 'memory'] = kinds;
  const instead = HINTS[kind] ?? 'name other hosts';
  return new AppError('exhausted', `${wanted} VMs do not fit: the hosts have ${what} for ${total}`, {
    fits: String(total),
    hosts: lines.join(', '),
    hint: total === 0 ? instead : `--count ${total} or --count max would fit; or ${instead}`,
  });
}
