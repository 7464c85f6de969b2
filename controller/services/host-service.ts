import type { Identity, IdentityStore } from '../ports/store.js';
import type { Fleet, HostView } from './fleet.js';
import type { Journal } from './journal.js';

export interface HostDetail extends HostView {
  /** Milliseconds since 1970; `undefined` without a valid certificate. */
  readonly certificateExpiresAtMs: number | undefined;
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
    return this.journal.read(({ identities }) => views.map((view) => withCertificate(view, identities)));
  }

  /** @throws {AppError} `not_found` */
  get(name: string): HostDetail {
    const view = this.fleet.host(name);
    return this.journal.read(({ identities }) => withCertificate(view, identities));
  }
}

function withCertificate(view: HostView, identities: IdentityStore): HostDetail {
  const valid = identities.listByName('agent', view.host.name).filter(isNotRevoked);
  const ends = valid.map((identity) => identity.expiresAtMs);
  return { ...view, certificateExpiresAtMs: ends.length > 0 ? Math.max(...ends) : undefined };
}

function isNotRevoked(identity: Identity): boolean {
  return identity.revokedAtMs === undefined;
}
