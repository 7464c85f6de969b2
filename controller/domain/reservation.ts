import type { AddressRange } from '../../shared/domain/address-range.js';
import type { Ipv4 } from '../../shared/domain/ipv4.js';

/** What the NICs of VMs get besides their address: the site's network, not the reserved block's. */
export interface InterfaceSettings {
  /** 1 to 30. */
  readonly prefix: number;
  readonly broadcast: Ipv4;
  readonly gateway: Ipv4;
  readonly dns: readonly Ipv4[];
  readonly domain: string | undefined;
}

export type ReservationId = number;

/** Where a reservation was read from. */
export type ReservationSource = 'g5k-subnets' | 'cidr-list' | 'g5k-api';

/** Everything of a reservation but its id. Times are milliseconds since 1970; the end is exclusive. */
export interface ReservationData {
  readonly name: string;
  readonly source: ReservationSource;
  readonly user: string | undefined;
  readonly site: string | undefined;
  readonly jobId: string | undefined;
  readonly startsAtMs: number;
  readonly endsAtMs: number;
  readonly settings: InterfaceSettings;
  /** Usable addresses in canonical form (pool.ts), before exclusions. */
  readonly ranges: readonly AddressRange[];
  /** Never given: gateway, DNS servers, the user's own; normalized. */
  readonly exclusions: readonly AddressRange[];
}

export interface Reservation extends ReservationData {
  readonly id: ReservationId;
}

export type ReservationPhase = 'upcoming' | 'active' | 'over';

export function phaseOf(
  reservation: Pick<ReservationData, 'startsAtMs' | 'endsAtMs'>,
  nowMs: number,
): ReservationPhase {
  if (nowMs < reservation.startsAtMs) return 'upcoming';
  return nowMs < reservation.endsAtMs ? 'active' : 'over';
}
