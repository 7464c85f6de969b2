import { ipv4FromNumber } from '../../../shared/domain/ipv4.js';
import { macFromNumber } from '../../../shared/domain/mac.js';
import { wrongState } from '../../../shared/errors.js';
import { parseOwnerKey, type Lease, type LeaseOwner, type LeaseState } from '../../domain/lease.js';

export interface LeaseRow {
  readonly id: number;
  readonly reservation_id: number;
  readonly address: number;
  readonly mac: number;
  readonly owner: string;
  readonly state: LeaseState;
  readonly revision: number;
  readonly created_at_ms: number;
  readonly changed_at_ms: number;
  readonly expires_at_ms: number | null;
}

export function toLease(row: LeaseRow): Lease {
  return {
    id: row.id,
    reservationId: row.reservation_id,
    address: ipv4FromNumber(row.address),
    mac: macFromNumber(row.mac),
    owner: toOwner(row.owner),
    state: row.state,
    revision: row.revision,
    createdAtMs: row.created_at_ms,
    changedAtMs: row.changed_at_ms,
    expiresAtMs: row.expires_at_ms ?? undefined,
  };
}

function toOwner(key: string): LeaseOwner {
  const owner = parseOwnerKey(key);
  if (owner === undefined) throw wrongState(`"${key}" is no owner of a lease`);
  return owner;
}
