import type { Ipv4 } from '../../shared/domain/ipv4.js';
import type { Mac } from '../../shared/domain/mac.js';

/** What this host remembers of a lease that the controller gave to one of its vifs. */
export interface LeaseRecord {
  readonly cfgPath: string;
  readonly vifIndex: number;
  readonly address: Ipv4;
  readonly mac: Mac;
  /** In another deployment it means nothing: the addresses have gone back with the reservation. */
  readonly deploymentId: string;
  /** When its reservation is over, milliseconds since 1970; `undefined`: not known. */
  readonly endsAtMs: number | undefined;
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
