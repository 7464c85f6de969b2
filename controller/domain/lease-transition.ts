import type { LeaseState } from './lease.js';

/**
 * - `bind`: its owner is configured. `extend`: its TTL starts anew.
 * - `release`: its owner gave it up. `decline`: the wire says that somebody else has the address.
 * - `revive`: its owner, or its reservation, came back. `expire`: its reservation is over, its VM may still run.
 * - `free`: nobody may still use it.
 */
export const LEASE_ACTIONS = ['bind', 'extend', 'release', 'decline', 'revive', 'expire', 'free'] as const;
export type LeaseAction = (typeof LEASE_ACTIONS)[number];

/** `unchanged`: it is there already, which makes the action idempotent. `free`: the lease is no more. */
export type LeaseOutcome = LeaseState | 'unchanged' | 'free' | 'refused';

type Row = Readonly<Record<LeaseState, LeaseOutcome>>;

// prettier-ignore
const TABLE: Readonly<Record<LeaseAction, Row>> = {
  bind:    { pending: 'bound',       bound: 'unchanged',   quarantined: 'refused',   declined: 'refused',     expired: 'refused' },
  extend:  { pending: 'pending',     bound: 'refused',     quarantined: 'refused',   declined: 'refused',     expired: 'refused' },
  release: { pending: 'quarantined', bound: 'quarantined', quarantined: 'unchanged', declined: 'quarantined', expired: 'quarantined' },
  // An expired one blocks already, and its own VM may be the one that answered.
  decline: { pending: 'declined',    bound: 'declined',    quarantined: 'declined',  declined: 'unchanged',   expired: 'unchanged' },
  // What was expired is in use on the wire, so it needs no second confirmation by `bind`.
  revive:  { pending: 'unchanged',   bound: 'unchanged',   quarantined: 'pending',   declined: 'refused',     expired: 'bound' },
  expire:  { pending: 'expired',     bound: 'expired',     quarantined: 'refused',   declined: 'refused',     expired: 'unchanged' },
  free:    { pending: 'free',        bound: 'free',        quarantined: 'free',      declined: 'free',        expired: 'free' },
};

export function nextState(state: LeaseState, action: LeaseAction): LeaseOutcome {
  return TABLE[action][state];
}

/** States in which the lease's owner may use the address. */
export function isHeld(state: LeaseState): boolean {
  return state === 'pending' || state === 'bound';
}
