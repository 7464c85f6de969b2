import { AppError, notFound } from '../../shared/errors.js';
import type { Caller } from '../domain/caller.js';
import type { Host } from '../domain/host.js';
import { AGENT_CERTIFICATE_MS, mustJoinAnew, parseClientName, type Subject } from '../domain/identity-rule.js';
import type { HostId } from '../domain/vm.js';
import type { CertificateAuthority, IssuedCertificate } from '../ports/certificate-authority.js';
import type { Clock } from '../ports/environment.js';
import type { LiveCalls } from '../ports/live-calls.js';
import type { Tx } from '../ports/store.js';
import type { EventLog } from './event-log.js';
import type { Journal } from './journal.js';

export interface CertificateServiceOptions {
  readonly journal: Journal;
  readonly events: EventLog;
  readonly authority: CertificateAuthority;
  readonly clock: Clock;
  readonly calls: LiveCalls;
  /** Ends the host's session and its orders. */
  readonly cutHost: (hostId: HostId, reason: string) => void;
}

const DAY_MS = 86_400_000;

/** Certificates of those that are in already, and their end. */
export class CertificateService {
  private readonly options: CertificateServiceOptions;

  constructor(options: CertificateServiceOptions) {
    this.options = options;
  }

  get authorityPem(): string {
    return this.options.authority.certificatePem;
  }

  /**
   * The next certificate of a host, for a new key.
   *
   * @param host the name in its present certificate
   * @throws {AppError} `invalid` (request), `unauthenticated` (revoked)
   */
  async renew(host: string, csr: string): Promise<IssuedCertificate> {
    const { journal } = this.options;
    journal.read((stores) => requireHost(stores.hosts.findByName(host), host));
    const issued = await this.sign({ role: 'agent', name: host }, csr, AGENT_CERTIFICATE_MS);
    await journal.submit((tx) => {
      requireHost(tx.hosts.findByName(host), host);
      this.record(tx, { role: 'agent', name: host }, issued);
    });
    return issued;
  }

  /**
   * A client certificate with the role admin. One that is asked for again is issued again.
   *
   * @param days 1 to 90
   * @throws {AppError} `invalid` (name, request)
   */
  async issueAdmin(name: string, csr: string, days: number, caller: Caller): Promise<IssuedCertificate> {
    const { journal, events } = this.options;
    const subject: Subject = { role: 'admin', name: parseClientName(name) };
    const issued = await this.sign(subject, csr, days * DAY_MS);
    await journal.submit((tx) => {
      this.record(tx, subject, issued);
      const until = new Date(issued.expiresAtMs).toISOString();
      const message = `a client certificate was issued to ${name}, valid until ${until}`;
      events.record(tx, {
        ...this.by(caller),
        kind: 'certificate.issued',
        message,
        details: { serial: issued.serial },
      });
    });
    return issued;
  }

  /**
   * Refuses all certificates of a client from now on, and ends its calls. Idempotent.
   *
   * @throws {AppError} `not_found` if it has none
   */
  async revokeAdmin(name: string, caller: Caller): Promise<void> {
    const { journal, events, clock } = this.options;
    await journal.submit((tx) => {
      const live = tx.identities.listByName('admin', name);
      if (live.length === 0) throw notFound(`No client ${name} has a certificate`, { name });
      if (live.every((identity) => identity.revokedAtMs !== undefined)) return;
      this.cutOnCommit(tx, { role: 'admin', name }, clock.nowMs());
      const message = `the client certificates of ${name} were revoked`;
      events.record(tx, { ...this.by(caller), kind: 'certificate.revoked', message });
    });
  }

  /**
   * Refuses a host's certificates from now on, and ends its session. It may join anew. Idempotent.
   *
   * @throws {AppError} `not_found`
   */
  async revokeHost(name: string, caller: Caller): Promise<void> {
    const { journal, events, clock, cutHost } = this.options;
    await journal.submit((tx) => {
      const host = tx.hosts.findByName(name);
      if (host === undefined)
        throw notFound(`host "${name}" has not joined`, { host: name, hint: 'see domherd host list' });
      if (host.revokedAtMs !== undefined) return;
      const nowMs = clock.nowMs();
      tx.hosts.update({ ...host, revokedAtMs: nowMs });
      this.cutOnCommit(tx, { role: 'agent', name }, nowMs);
      tx.onCommitted(() => cutHost(host.id, `host ${name} was revoked`));
      events.record(tx, { ...this.by(caller), kind: 'host.revoked', message: `${name} was revoked`, host: name });
    });
  }

  private async sign(subject: Subject, csr: string, lifeMs: number): Promise<IssuedCertificate> {
    const { authority } = this.options;
    return authority.issue(await authority.readRequest(csr, subject.name), subject, lifeMs);
  }

  private record(tx: Tx, subject: Subject, issued: IssuedCertificate): void {
    const { serial, issuedAtMs, expiresAtMs } = issued;
    tx.identities.insert({ serial, ...subject, issuedAtMs, expiresAtMs, revokedAtMs: undefined });
  }

  private cutOnCommit(tx: Tx, subject: Subject, nowMs: number): void {
    const serials = tx.identities.revoke(subject.role, subject.name, nowMs);
    const reason = new AppError('unauthenticated', `The certificate of ${subject.name} was revoked`, {
      name: subject.name,
    });
    tx.onCommitted(() => this.options.calls.cut(serials, reason));
  }

  private by(caller: Caller): {
    readonly atMs: number;
    readonly actor: string;
    readonly requestId: string | undefined;
  } {
    return { atMs: this.options.clock.nowMs(), actor: caller.actor, requestId: caller.requestId };
  }
}

function requireHost(host: Host | undefined, name: string): void {
  if (host === undefined) throw mustJoinAnew(`Host ${name} is unknown to this controller`, name);
  if (host.revokedAtMs !== undefined) throw mustJoinAnew(`Host ${name} was revoked`, name);
}
