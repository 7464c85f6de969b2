import { formatIpv4, type Ipv4 } from '../../shared/domain/ipv4.js';
import { formatMac, type Mac } from '../../shared/domain/mac.js';
import { ownerKey, type Lease, type LeaseOwner, type OwnerKey } from './lease.js';

export const CONFLICT_KINDS = ['mac', 'address', 'lease', 'expired'] as const;
export type ConflictKind = (typeof CONFLICT_KINDS)[number];

/** Two facts that cannot both stand. */
export interface Conflict {
  readonly kind: ConflictKind;
  /** The MAC or address. */
  readonly value: string;
  /** At least one; two or more unless `expired`. */
  readonly parties: readonly string[];
  /** At least two of them may be on the wire; for `expired`: always. */
  readonly isActive: boolean;
  readonly hint: string;
}

/** One NIC as its host sees it. */
export interface SeenVif {
  readonly owner: OwnerKey;
  /** NAME@HOST#vif. */
  readonly label: string;
  readonly mac: Mac | undefined;
  readonly address: Ipv4 | undefined;
  readonly mayBeOnWire: boolean;
}

export interface KnownLease extends Pick<Lease, 'address' | 'mac' | 'owner' | 'state'> {
  /** End of its reservation, exclusive. */
  readonly endsAtMs: number;
}

export interface ConflictFacts {
  /** Without those of VMs that are gone. */
  readonly vifs: readonly SeenVif[];
  readonly leases: readonly KnownLease[];
  readonly describeOwner: (owner: LeaseOwner) => string;
}

interface VifIndex {
  readonly byMac: ReadonlyMap<Mac, readonly SeenVif[]>;
  readonly byAddress: ReadonlyMap<Ipv4, readonly SeenVif[]>;
  readonly byOwner: ReadonlyMap<OwnerKey, SeenVif>;
}

/** Active ones first, then by value. Time is linear in vifs and leases. */
export function findConflicts(facts: ConflictFacts, nowMs: number): readonly Conflict[] {
  const index: VifIndex = {
    byMac: groupBy(facts.vifs, (vif) => vif.mac),
    byAddress: groupBy(facts.vifs, (vif) => vif.address),
    byOwner: new Map(facts.vifs.map((vif) => [vif.owner, vif])),
  };
  const conflicts = [
    ...sharedValues('mac', index.byMac, formatMac),
    ...sharedValues('address', index.byAddress, formatIpv4),
    ...facts.leases.flatMap((lease) => foreignUses(lease, index, facts.describeOwner)),
    ...facts.leases.flatMap((lease) => endedUse(lease, index, nowMs)),
  ];
  return conflicts.sort(byUrgency);
}

function groupBy<K>(
  vifs: readonly SeenVif[],
  keyOf: (vif: SeenVif) => K | undefined,
): ReadonlyMap<K, readonly SeenVif[]> {
  const groups = new Map<K, SeenVif[]>();
  for (const vif of vifs) {
    const key = keyOf(vif);
    if (key === undefined) continue;
    const group = groups.get(key);
    if (group) group.push(vif);
    else groups.set(key, [vif]);
  }
  return groups;
}

function sharedValues<K>(
  kind: 'mac' | 'address',
  groups: ReadonlyMap<K, readonly SeenVif[]>,
  format: (value: K) => string,
): Conflict[] {
  const conflicts: Conflict[] = [];
  for (const [value, vifs] of groups) {
    if (vifs.length < 2) continue;
    conflicts.push({
      kind,
      value: format(value),
      parties: labelsOf(vifs),
      isActive: vifs.filter((vif) => vif.mayBeOnWire).length >= 2,
      hint: 'stop all but one of them, then give each its own with domherd vm address',
    });
  }
  return conflicts;
}

/** Who uses the MAC or the address of somebody else's lease. */
function foreignUses(lease: KnownLease, index: VifIndex, describe: (owner: LeaseOwner) => string): Conflict[] {
  if (!isInForce(lease)) return [];
  return [
    ...foreignUse(lease, formatMac(lease.mac), index.byMac.get(lease.mac), index, describe),
    ...foreignUse(lease, formatIpv4(lease.address), index.byAddress.get(lease.address), index, describe),
  ];
}

function foreignUse(
  lease: KnownLease,
  value: string,
  users: readonly SeenVif[] = [],
  index: VifIndex,
  describe: (owner: LeaseOwner) => string,
): Conflict[] {
  const owner = ownerKey(lease.owner);
  // An owner that uses its lease stands in the conflict of all who share the value.
  if (users.length === 0 || users.some((vif) => vif.owner === owner)) return [];
  // A free name has no state: an address was taken for it, so it is taken for live.
  const isOwnerLive = lease.owner.kind === 'name' || index.byOwner.get(owner)?.mayBeOnWire === true;
  const live = users.filter((vif) => vif.mayBeOnWire).length + (isOwnerLive ? 1 : 0);
  const holder = describe(lease.owner);
  return [
    {
      kind: 'lease',
      value,
      parties: [holder, ...labelsOf(users)],
      isActive: live >= 2,
      hint: `${holder} has the lease: address the others with domherd vm address`,
    },
  ];
}

/** A lease that nobody else may use the address of. Declined ones are known to be somebody's, resting ones nobody's. */
function isInForce(lease: KnownLease): boolean {
  return lease.state === 'pending' || lease.state === 'bound' || lease.state === 'expired';
}

function endedUse(lease: KnownLease, index: VifIndex, nowMs: number): Conflict[] {
  const vif = index.byOwner.get(ownerKey(lease.owner));
  if (!vif?.mayBeOnWire || !hasEnded(lease, vif, nowMs)) return [];
  return [
    {
      kind: 'expired',
      value: formatIpv4(lease.address),
      parties: [vif.label],
      isActive: true,
      hint: 'stop it, then give it an address of a present reservation with domherd vm address',
    },
  ];
}

function hasEnded(lease: KnownLease, vif: SeenVif, nowMs: number): boolean {
  switch (lease.state) {
    case 'expired':
      return true;
    case 'pending':
    case 'bound':
      return lease.endsAtMs <= nowMs;
    case 'quarantined':
      return vif.mac === lease.mac || vif.address === lease.address;
    case 'declined':
      return false;
  }
}

function labelsOf(vifs: readonly SeenVif[]): readonly string[] {
  return vifs.map((vif) => vif.label).sort();
}

function byUrgency(a: Conflict, b: Conflict): number {
  if (a.isActive !== b.isActive) return a.isActive ? -1 : 1;
  if (a.value !== b.value) return a.value < b.value ? -1 : 1;
  return CONFLICT_KINDS.indexOf(a.kind) - CONFLICT_KINDS.indexOf(b.kind);
}
