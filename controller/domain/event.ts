import type { Ipv4 } from '../../shared/domain/ipv4.js';
import type { Mac } from '../../shared/domain/mac.js';
import type { OwnerKey, VmId } from './lease.js';

/** One line of history before it has an id. */
export interface NewEvent {
  readonly atMs: number;
  /** "noun.verb", listed in docs/events.md. */
  readonly kind: string;
  /** One sentence for people. */
  readonly message: string;
  /** "admin:<name>", "agent:<host>" or "controller". */
  readonly actor: string;
  readonly requestId?: string | undefined;
  readonly reservation?: string | undefined;
  readonly address?: Ipv4 | undefined;
  readonly mac?: Mac | undefined;
  readonly host?: string | undefined;
  readonly vmId?: VmId | undefined;
  readonly owner?: OwnerKey | undefined;
  readonly details?: Readonly<Record<string, string>> | undefined;
}

export interface Event extends NewEvent {
  /** 1 up, in the order of commits. */
  readonly id: number;
}

/** Each empty or missing field: any. A kind that ends in "." is a prefix. */
export interface EventFilter {
  readonly kinds?: readonly string[] | undefined;
  readonly host?: string | undefined;
  readonly reservation?: string | undefined;
  readonly address?: Ipv4 | undefined;
  readonly mac?: Mac | undefined;
  readonly vmId?: VmId | undefined;
  readonly owner?: OwnerKey | undefined;
  /** Of any of them. */
  readonly hosts?: readonly string[] | undefined;
  readonly vmIds?: readonly VmId[] | undefined;
}

/** Whether an event passes a filter: the rule that live streams and the store share. */
export function matchesFilter(event: NewEvent, filter: EventFilter): boolean {
  return (
    matchesKind(event.kind, filter.kinds ?? []) &&
    (['host', 'reservation', 'address', 'mac', 'vmId', 'owner'] as const).every(
      (field) => filter[field] === undefined || filter[field] === event[field],
    ) &&
    isOneOf(event.host, filter.hosts) &&
    isOneOf(event.vmId, filter.vmIds)
  );
}

/** None given: any. */
function isOneOf<T>(value: T | undefined, wanted: readonly T[] = []): boolean {
  return wanted.length === 0 || (value !== undefined && wanted.includes(value));
}

function matchesKind(kind: string, kinds: readonly string[]): boolean {
  return (
    kinds.length === 0 || kinds.some((wanted) => (wanted.endsWith('.') ? kind.startsWith(wanted) : kind === wanted))
  );
}
