import { formatIpv4 } from '../../../shared/domain/ipv4.js';
import { formatMac } from '../../../shared/domain/mac.js';
import { invalid } from '../../../shared/errors.js';
import {
  LeaseState as WireState,
  type Lease as WireLease,
  type LeaseClaim as WireClaim,
  type LeaseOwner as WireOwner,
} from '../../../shared/gen/domherd/v1/lease.js';
import type { Lease, LeaseOwner, LeaseState } from '../../domain/lease.js';
import { parseLeaseOwnerName } from '../../domain/owner-name.js';
import type { ReservationId } from '../../domain/reservation.js';
import type { LeaseClaim } from '../../services/lease-acquirer.js';
import { inField, integerFrom, missing, optionalAddressFrom, optionalMacFrom, timestampFromMs } from './convert.js';

/** Names of what a lease refers to by id. LeaseService is one. */
export interface LeaseNames {
  reservationName(id: ReservationId): string;
  /** NAME@HOST#vif, or the free name. */
  describeOwner(owner: LeaseOwner): string;
}

const MAX_UINT32 = 0xffff_ffff;
/** Far above the NICs of any guest. */
const MAX_VIF_INDEX = 255;

const TO_WIRE: Readonly<Record<LeaseState, WireState>> = {
  pending: WireState.PENDING,
  bound: WireState.BOUND,
  quarantined: WireState.QUARANTINED,
  declined: WireState.DECLINED,
  expired: WireState.EXPIRED,
};

export function leaseToWire(lease: Lease, names: LeaseNames): WireLease {
  return {
    id: lease.id,
    reservation: names.reservationName(lease.reservationId),
    address: formatIpv4(lease.address),
    mac: formatMac(lease.mac),
    owner: ownerToWire(lease.owner, names),
    state: TO_WIRE[lease.state],
    revision: lease.revision,
    createdAt: timestampFromMs(lease.createdAtMs),
    changedAt: timestampFromMs(lease.changedAtMs),
    expiresAt: timestampFromMs(lease.expiresAtMs),
  };
}

function ownerToWire(owner: LeaseOwner, names: LeaseNames): WireOwner {
  if (owner.kind === 'name') return { owner: { $case: 'name', value: owner.name } };
  const vm = names.describeOwner(owner).replace(/#\d+$/, '');
  return { owner: { $case: 'vif', value: { vmId: owner.vmId, vifIndex: owner.vifIndex, vm } } };
}

/** @throws {AppError} `invalid` naming the field */
export function claimFrom(claim: WireClaim, field: string): LeaseClaim {
  return {
    owner: ownerFrom(claim.owner, `${field}.owner`),
    address: optionalAddressFrom(claim.address, `${field}.address`),
    mac: optionalMacFrom(claim.mac, `${field}.mac`),
  };
}

export function ownerFrom(wire: WireOwner | undefined, field: string): LeaseOwner {
  const owner = wire?.owner;
  if (owner === undefined) throw missing(field);
  if (owner.$case === 'name') {
    return { kind: 'name', name: inField(`${field}.name`, () => parseLeaseOwnerName(owner.value)) };
  }
  const vmId = integerFrom(owner.value.vmId, `${field}.vif.vm_id`, 1, MAX_UINT32);
  return { kind: 'vif', vmId, vifIndex: integerFrom(owner.value.vifIndex, `${field}.vif.vif_index`, 0, MAX_VIF_INDEX) };
}

/** None is: any. */
export function statesFrom(states: readonly WireState[], field: string): readonly LeaseState[] | undefined {
  return states.length === 0 ? undefined : [...new Set(states.map((state) => stateFrom(state, field)))];
}

function stateFrom(wire: WireState, field: string): LeaseState {
  switch (wire) {
    case WireState.PENDING:
      return 'pending';
    case WireState.BOUND:
      return 'bound';
    case WireState.QUARANTINED:
      return 'quarantined';
    case WireState.DECLINED:
      return 'declined';
    case WireState.EXPIRED:
      return 'expired';
    case WireState.UNSPECIFIED:
    case WireState.UNRECOGNIZED:
    default:
      throw invalid(`${field} has a value that is no lease state`, { field, value: String(wire) });
  }
}
