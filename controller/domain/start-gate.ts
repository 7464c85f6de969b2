import { formatIpv4, type Ipv4 } from '../../shared/domain/ipv4.js';
import { formatMac, type Mac } from '../../shared/domain/mac.js';
import type { Lease, LeaseState } from './lease.js';
import { phaseOf, type Reservation, type ReservationId } from './reservation.js';
import type { ObservedVif, Vm } from './vm.js';

/** What a VM would use on the wire if it were started. */
export type WireClaim =
  | { readonly kind: 'mac'; readonly vifIndex: number; readonly mac: Mac }
  | { readonly kind: 'address'; readonly vifIndex: number; readonly address: Ipv4 };

/** Somebody else who has or may use it. */
export interface Rival {
  readonly claim: WireClaim;
  /** `live`: may be on the wire; `starting`: is being started right now; else the state of its lease. */
  readonly how: 'live' | 'starting' | LeaseState;
  /** For people: NAME@HOST#vif, or a free name. */
  readonly by: string;
}

export interface GateFacts {
  readonly vm: Vm;
  /** All of its vifs, in any state. */
  readonly leases: readonly Lease[];
  readonly rivals: readonly Rival[];
  readonly reservations: ReadonlyMap<ReservationId, Pick<Reservation, 'name' | 'startsAtMs' | 'endsAtMs'>>;
}

export interface Objection {
  readonly reason: 'rival' | 'lease-ended' | 'reservation-over' | 'reservation-upcoming';
  /** A sentence for people, without the VM's name. */
  readonly message: string;
  readonly hint: string;
}

export interface StartVerdict {
  /** Empty: it may start. */
  readonly objections: readonly Objection[];
  readonly warnings: readonly string[];
}

/** The MACs and addresses that a start would put on the wire: those of cfg and guest files, and the address it holds. */
export function wireClaimsOf(vm: Vm, leases: readonly Lease[]): readonly WireClaim[] {
  return vm.vifs.flatMap((vif) => {
    const held = heldLease(leases, vif.index);
    const addresses = new Set([vif.guestAddress, held?.address]);
    return [
      ...(vif.mac === undefined ? [] : [{ kind: 'mac', vifIndex: vif.index, mac: vif.mac } as const]),
      ...[...addresses]
        .filter((address) => address !== undefined)
        .map((address) => ({ kind: 'address', vifIndex: vif.index, address }) as const),
    ];
  });
}

/** Existence of a clone is no fault, starting it is: the one place where a conflict blocks. */
export function judgeStart(facts: GateFacts, nowMs: number): StartVerdict {
  return {
    objections: [
      ...facts.rivals.map(objectToRival),
      ...facts.vm.vifs.flatMap((vif) => objectToLeases(vif, facts, nowMs)),
    ],
    warnings: [...facts.vm.vifs.flatMap((vif) => warnOfVif(vif, facts)), ...warnOfTwins(facts.vm)],
  };
}

/** The lease that a vif holds; the one that was changed last, should it hold leases of several reservations. */
export function heldLease(leases: readonly Lease[], vifIndex: number): Lease | undefined {
  return leases
    .filter((lease) => isOf(lease, vifIndex) && (lease.state === 'pending' || lease.state === 'bound'))
    .reduce<Lease | undefined>(
      (last, lease) => (last && last.changedAtMs > lease.changedAtMs ? last : lease),
      undefined,
    );
}

function isOf(lease: Lease, vifIndex: number): boolean {
  return lease.owner.kind === 'vif' && lease.owner.vifIndex === vifIndex;
}

function objectToRival(rival: Rival): Objection {
  const { claim, how, by } = rival;
  const value = claim.kind === 'mac' ? `MAC ${formatMac(claim.mac)}` : `address ${formatIpv4(claim.address)}`;
  return {
    reason: 'rival',
    message: `vif ${claim.vifIndex} has ${value}, ${describeRival(how, by)}`,
    hint: 'give it its own with domherd vm address',
  };
}

function describeRival(how: Rival['how'], by: string): string {
  switch (how) {
    case 'live':
      return `which ${by} uses`;
    case 'starting':
      return `with which ${by} is being started`;
    case 'pending':
    case 'bound':
    case 'expired':
      return `which is leased to ${by}`;
    case 'quarantined':
      return `which rests after ${by}`;
    case 'declined':
      return 'which somebody else answered for on the wire';
  }
}

function objectToLeases(vif: ObservedVif, facts: GateFacts, nowMs: number): Objection[] {
  const held = heldLease(facts.leases, vif.index);
  const ended = facts.leases.find((lease) => isOf(lease, vif.index) && isEndedFor(lease, vif, held));
  return [...(ended ? [endedObjection(vif, ended)] : []), ...(held ? objectToPhase(vif, held, facts, nowMs) : [])];
}

/** Whether the vif would run on a lease of its own that is over. */
function isEndedFor(lease: Lease, vif: ObservedVif, held: Lease | undefined): boolean {
  if (lease.state === 'pending' || lease.state === 'bound') return false;
  if (lease.mac === vif.mac || lease.address === vif.guestAddress) return true;
  return lease.state === 'expired' && held === undefined;
}

function endedObjection(vif: ObservedVif, lease: Lease): Objection {
  return {
    reason: 'lease-ended',
    message: `the lease of vif ${vif.index} on ${formatIpv4(lease.address)} has ended: it is ${lease.state}`,
    hint: 'take a new one with domherd vm address',
  };
}

function objectToPhase(vif: ObservedVif, held: Lease, facts: GateFacts, nowMs: number): Objection[] {
  const reservation = facts.reservations.get(held.reservationId);
  const phase = reservation ? phaseOf(reservation, nowMs) : 'over';
  if (phase === 'active') return [];
  const where = `the reservation ${reservation?.name ?? ''} of vif ${vif.index}'s address ${formatIpv4(held.address)}`;
  return phase === 'over'
    ? [{ reason: 'reservation-over', message: `${where} is over`, hint: 'address it from a present reservation' }]
    : [{ reason: 'reservation-upcoming', message: `${where} has not begun`, hint: 'wait until it begins' }];
}

function warnOfVif(vif: ObservedVif, facts: GateFacts): string[] {
  const held = heldLease(facts.leases, vif.index);
  if (!held) return [`vif ${vif.index} has no lease`];
  if (held.mac === vif.mac) return [];
  const mac = vif.mac === undefined ? 'no MAC' : `MAC ${formatMac(vif.mac)}`;
  return [`vif ${vif.index} has ${mac} in its cfg, its lease has ${formatMac(held.mac)}`];
}

/** The scripts that domherd replaces gave all vifs of a cfg one MAC. */
function warnOfTwins(vm: Vm): string[] {
  const macs = vm.vifs.flatMap((vif) => (vif.mac === undefined ? [] : [vif.mac]));
  const twins = [...new Set(macs.filter((mac, n) => macs.indexOf(mac) !== n))];
  return twins.map((mac) => `several of its vifs have MAC ${formatMac(mac)}`);
}
