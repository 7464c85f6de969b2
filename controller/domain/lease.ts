import type { Ipv4 } from '../../shared/domain/ipv4.js';
import type { Mac } from '../../shared/domain/mac.js';
import type { ReservationId } from './reservation.js';

export type LeaseId = number;
export type VmId = number;

/** One NIC of a VM; `vifIndex` 0 is the first. */
export interface VifRef {
  readonly vmId: VmId;
  readonly vifIndex: number;
}

/** Exactly one owner a lease: a vif, or a free name for an address that no VM of domherd has. */
export type LeaseOwner =
  | { readonly kind: 'vif'; readonly vmId: VmId; readonly vifIndex: number }
  | { readonly kind: 'name'; readonly name: string };

/** The owner as one key, unique per owner: "vif:12/0" or "name:gateway-test". */
export type OwnerKey = string;

export function ownerKey(owner: LeaseOwner): OwnerKey {
  return owner.kind === 'vif' ? `vif:${String(owner.vmId)}/${String(owner.vifIndex)}` : `name:${owner.name}`;
}

/** The inverse of {@link ownerKey}; `undefined` for any other text. */
export function parseOwnerKey(key: OwnerKey): LeaseOwner | undefined {
  const vif = /^vif:(\d+)\/(\d+)$/.exec(key);
  if (vif) return { kind: 'vif', vmId: Number(vif[1]), vifIndex: Number(vif[2]) };
  return key.startsWith('name:') ? { kind: 'name', name: key.slice('name:'.length) } : undefined;
}

/** A free address has no lease at all, so "free" is no state. */
export const LEASE_STATES = ['pending', 'bound', 'quarantined', 'declined', 'expired'] as const;
export type LeaseState = (typeof LEASE_STATES)[number];

export interface Lease {
  readonly id: LeaseId;
  readonly reservationId: ReservationId;
  readonly address: Ipv4;
  readonly mac: Mac;
  readonly owner: LeaseOwner;
  readonly state: LeaseState;
  /** Counts changes from 1. */
  readonly revision: number;
  readonly createdAtMs: number;
  readonly changedAtMs: number;
  /** When a pending or quarantined lease is freed; `undefined` in every other state. */
  readonly expiresAtMs: number | undefined;
}

export type NewLease = Omit<Lease, 'id' | 'revision'>;
