import type { EventStore, Identity, IdentityStore, Stores } from '../ports/store.js';
import type { Fleet, HostView } from './fleet.js';
import type { Journal } from './journal.js';

export interface HostDetail extends HostView {
  /** Milliseconds since 1970; `undefined` without a valid certificate. */
  readonly certificateExpiresAtMs: number | undefined;
  /** Why it was refused last; empty if it has had a session since. */
  readonly lastError: string;
}

/** Hosts with what is known of them now. */
export class HostQuery {
  private readonly fleet: Fleet;
  private readonly journal: Journal;

  constructor(options: { readonly fleet: Fleet; readonly journal: Journal }) {
    this.fleet = options.fleet;
    this.journal = options.journal;
  }

  /** By name. */
  list(): readonly HostDetail[] {
    const views = this.fleet.hosts();
    return this.journal.read((stores) => views.map((view) => withRecords(view, stores)));
  }

  /** @throws {AppError} `not_found` */
  get(name: string): HostDetail {
    const view = this.fleet.host(name);
    return this.journal.read((stores) => withRecords(view, stores));
  }
}

function withRecords(view: HostView, { identities, events }: Stores): HostDetail {
  const { name } = view.host;
  return { ...view, certificateExpiresAtMs: certificateEnd(name, identities), lastError: lastRefusal(name, events) };
}

function certificateEnd(name: string, identities: IdentityStore): number | undefined {
  const valid = identities.listByName('agent', name).filter(isNotRevoked);
  const ends = valid.map((identity) => identity.expiresAtMs);
  return ends.length > 0 ? Math.max(...ends) : undefined;
}

function isNotRevoked(identity: Identity): boolean {
  return identity.revokedAtMs === undefined;
}

function lastRefusal(host: string, events: EventStore): string {
  const [last] = events.list({ host, kinds: ['host.refused', 'host.connected'] }, undefined, 1);
  return last?.kind === 'host.refused' ? (last.details?.['reason'] ?? last.message) : '';
}
