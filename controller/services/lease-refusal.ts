import { formatIpv4, type Ipv4 } from '../../shared/domain/ipv4.js';
import { formatMac, type Mac } from '../../shared/domain/mac.js';
import { AppError, invalid, notFound, wrongState } from '../../shared/errors.js';
import { formatInstant } from '../domain/instant.js';
import type { Lease, LeaseState } from '../domain/lease.js';
import type { NotInPool } from '../domain/pool.js';
import type { Reservation } from '../domain/reservation.js';

/** What is said when a lease cannot be had or changed. `by` is the holder for people. */

const HOW_HELD: Readonly<Record<LeaseState, string>> = {
  pending: 'is held by',
  bound: 'is held by',
  quarantined: 'rests after its release by',
  declined: 'was seen in use by somebody else, when it was given to',
  expired: 'may still be used by',
};

export function addressHeld(lease: Lease, by: string): AppError {
  const address = formatIpv4(lease.address);
  const until = lease.expiresAtMs === undefined ? undefined : formatInstant(lease.expiresAtMs);
  const rest = lease.state === 'quarantined' && until !== undefined ? `, until ${until}` : '';
  return new AppError('already_exists', `${address} ${HOW_HELD[lease.state]} ${by}${rest}`, {
    address,
    by,
    state: lease.state,
    ...(until !== undefined && { until }),
    hint: 'choose another address, or none: then the next free one is given',
  });
}

const WHY_NOT: Readonly<Record<NotInPool, { readonly text: string; readonly hint: string }>> = {
  outside: { text: 'is not one of its addresses', hint: 'reservation show lists its blocks' },
  edge: { text: 'is the first or last address of a block, which is kept free', hint: 'choose one inside of the block' },
  excluded: {
    text: 'is excluded there (gateway, broadcast, DNS or by the user)',
    hint: 'reservation show lists the exclusions',
  },
};

export function addressNotInPool(address: Ipv4, why: NotInPool, reservation: Reservation): AppError {
  const { text, hint } = WHY_NOT[why];
  const message = `${formatIpv4(address)} cannot be leased from reservation "${reservation.name}": it ${text}`;
  return invalid(message, { address: formatIpv4(address), reservation: reservation.name, reason: why, hint });
}

export function holdsAnother(lease: Lease, wanted: string, by: string): AppError {
  const address = formatIpv4(lease.address);
  const held = `${address} with ${formatMac(lease.mac)}`;
  return wrongState(`${by} holds ${held} already, and cannot have ${wanted} too`, {
    address,
    mac: formatMac(lease.mac),
    by,
    hint: `release ${address} first`,
  });
}

export function macHeld(mac: Mac, by: string): AppError {
  return new AppError('already_exists', `MAC ${formatMac(mac)} is held by ${by}`, {
    mac: formatMac(mac),
    by,
    hint: 'choose another MAC, or none: then a unique one is given',
  });
}

export function macObserved(mac: Mac): AppError {
  return new AppError('already_exists', `MAC ${formatMac(mac)} is in the configuration of another VM`, {
    mac: formatMac(mac),
    by: 'another VM, as its host reports',
    hint: 'see the conflicts of this MAC; choose another one, or none: then a unique one is given',
  });
}

export function noMacLeft(tries: number): AppError {
  return new AppError('exhausted', `no unused MAC was found in ${String(tries)} tries`, {
    tries: String(tries),
    hint: 'release MACs that are not needed any more',
  });
}

export function reservationOver(reservation: Reservation): AppError {
  const endsAt = formatInstant(reservation.endsAtMs);
  return wrongState(`reservation "${reservation.name}" is over since ${endsAt}`, {
    reservation: reservation.name,
    endsAt,
    hint: 'import the present one, or extend this one if its job goes on',
  });
}

export interface PoolState {
  readonly size: number;
  readonly held: number;
  /** For people: "web@dom0-1#0, db@dom0-1#0". */
  readonly topOwners: string;
  readonly nextFreeAtMs: number | undefined;
}

export function poolFull(reservation: Reservation, wanted: number, state: PoolState): AppError {
  const free = state.size - state.held;
  const size = String(state.size);
  const asked = wanted === 1 ? '' : `, and ${String(wanted)} were asked for`;
  const message = `reservation "${reservation.name}" has ${String(free)} of ${size} addresses free${asked}`;
  return new AppError('exhausted', message, {
    reservation: reservation.name,
    size,
    held: String(state.held),
    free: String(free),
    by: state.topOwners,
    ...(state.nextFreeAtMs !== undefined && { nextFreeAt: formatInstant(state.nextFreeAtMs) }),
    hint: 'release leases, wait for resting ones, or reserve more subnets',
  });
}

export function noLease(address: Ipv4): AppError {
  const text = formatIpv4(address);
  return notFound(`${text} has no lease`, { address: text, hint: 'lease list shows what there is' });
}

const WHILE: Readonly<Record<LeaseState, string>> = {
  pending: 'it is not configured yet',
  bound: 'it is bound',
  quarantined: 'it was released',
  declined: 'somebody else was seen to use the address',
  expired: 'its reservation is over',
};

export function wrongLeaseState(lease: Lease, action: string, hint: string): AppError {
  const address = formatIpv4(lease.address);
  return wrongState(`${address} cannot be ${action}: ${WHILE[lease.state]}`, { address, state: lease.state, hint });
}

export function vmMayRun(lease: Lease, by: string): AppError {
  const address = formatIpv4(lease.address);
  return wrongState(`${address} cannot be released: ${by} is not known to be stopped`, {
    address,
    by,
    hint: 'stop the VM first; or release with force, if you know that nothing uses the address',
  });
}
