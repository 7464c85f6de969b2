import type { Ipv4 } from '../../shared/domain/ipv4.js';
import type { Mac } from '../../shared/domain/mac.js';

/** A lease that the controller gave to a vif of this host. */
export interface VifLease {
  readonly cfgPath: string;
  readonly vifIndex: number;
  readonly address: Ipv4;
  readonly mac: Mac;
  /** When its reservation is over, or it was taken back, milliseconds since 1970; `undefined`: not known. */
  readonly endsAtMs: number | undefined;
}

/** What this host remembers of it. */
export interface LeaseRecord extends VifLease {
  /** In another deployment it means nothing: the addresses have gone back with the reservation. */
  readonly deploymentId: string;
}

/** Whether the vif may still use its address, as far as this host knows. */
export function isLive(record: LeaseRecord, nowMs: number): boolean {
  return record.endsAtMs === undefined || nowMs < record.endsAtMs;
}

/** The records with those of some vifs replaced. */
export function withRecords(before: readonly LeaseRecord[], records: readonly LeaseRecord[]): readonly LeaseRecord[] {
  const replaced = new Set(records.map(keyOf));
  return [...before.filter((record) => !replaced.has(keyOf(record))), ...records];
}

export function keyOf({ cfgPath, vifIndex }: Pick<LeaseRecord, 'cfgPath' | 'vifIndex'>): string {
  return `${cfgPath}#${vifIndex}`;
}
