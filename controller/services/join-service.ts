import type { HostName } from '../../shared/domain/name.js';
import { AGENT_CERTIFICATE_MS, checkClock, checkExpiredProof, mustJoinAnew } from '../domain/identity-rule.js';
import type { Host } from '../domain/host.js';
import { checkToken } from '../domain/join-token.js';
import { checkProtocol, type ProtocolVersion } from '../domain/protocol.js';
import type { CertificateAuthority, CertificateRequest, IssuedCertificate } from '../ports/certificate-authority.js';
import type { Clock } from '../ports/environment.js';
import type { LiveCalls } from '../ports/live-calls.js';
import type { Identity, JoinToken, Stores, Tx } from '../ports/store.js';
import type { HostId } from '../domain/vm.js';
import type { EventLog } from './event-log.js';
import type { Journal } from './journal.js';
import { hashSecret } from './token-service.js';

export interface JoinServiceOptions {
  readonly journal: Journal;
  readonly events: EventLog;
  readonly authority: CertificateAuthority;
  readonly clock: Clock;
  readonly calls: LiveCalls;
  readonly protocol: ProtocolVersion;
  /** "host:port" of the agents' listener. */
  readonly sessionAddresses: () => readonly string[];
  /** Ends what the host's former identity had open. */
  readonly cutHost: (hostId: HostId, reason: string) => void;
}

export type JoinProof =
  | { readonly kind: 'token'; readonly secret: string }
  | { readonly kind: 'expired'; readonly certificatePem: string; readonly signature: Uint8Array };

export interface JoinRequest {
  readonly host: HostName;
  /** PEM, PKCS #10. */
  readonly csr: string;
  readonly proof: JoinProof;
  readonly deploymentId: string;
  /** The host's clock. */
  readonly nowMs: number;
  readonly protocol: ProtocolVersion;
}

export interface Joined {
  readonly certificatePem: string;
  readonly caPem: string;
  readonly addresses: readonly string[];
  readonly expiresAtMs: number;
}

/** What let the host in. */
type Admission =
  { readonly kind: 'first'; readonly token: JoinToken } | { readonly kind: 'repeated' } | { readonly kind: 'renewed' };

const WORDS: Readonly<Record<Admission['kind'], string>> = {
  first: 'joined',
  repeated: 'joined again: its first answer was lost',
  renewed: 'renewed its expired certificate',
};

/**
 * Gives hosts their identity.
 *
 * Invariants:
 * - A certificate leaves only after it, the use of the token and the host are on the disk, in one transaction.
 * - A token's first use by a host ends every identity that the name had before: of a copied image, one lives on.
 */
export class JoinService {
  private readonly options: JoinServiceOptions;

  constructor(options: JoinServiceOptions) {
    this.options = options;
  }

  /**
   * @throws {AppError} `unauthenticated` (token or expired certificate), `invalid` (request), `wrong_state` (clock,
   *   protocol)
   */
  async join(request: JoinRequest): Promise<Joined> {
    const { authority, clock, journal, protocol } = this.options;
    const { host } = request;
    checkProtocol(protocol, request.protocol, `agent of ${host}`);
    const csr = await authority.readRequest(request.csr, host);
    journal.read((stores) => this.admit(stores, request, csr));
    // Before the clock is looked at: to a stranger it is nothing.
    checkClock(host, request.nowMs, clock.nowMs());
    const issued = await authority.issue(csr, { role: 'agent', name: host }, AGENT_CERTIFICATE_MS);
    const addresses = await journal.submit((tx) => this.record(tx, request, csr, issued));
    return {
      certificatePem: issued.pem,
      caPem: authority.certificatePem,
      addresses: addresses.length > 0 ? addresses : this.options.sessionAddresses(),
      expiresAtMs: issued.expiresAtMs,
    };
  }

  private admit(stores: Stores, request: JoinRequest, csr: CertificateRequest): Admission {
    return request.proof.kind === 'token'
      ? this.admitByToken(stores, request, request.proof.secret, csr)
      : this.admitExpired(stores, request, request.proof);
  }

  private admitByToken(stores: Stores, request: JoinRequest, secret: string, csr: CertificateRequest): Admission {
    const { host } = request;
    const token = stores.tokens.findByHash(hashSecret(secret));
    const wasUsed = token !== undefined && stores.tokens.wasUsed(token.id, host, csr.keyHash);
    checkToken(token, host, wasUsed, this.options.clock.nowMs());
    if (!wasUsed) return { kind: 'first', token };
    const known = stores.hosts.findByName(host);
    if (known?.revokedAtMs === undefined && known?.deploymentId === request.deploymentId) return { kind: 'repeated' };
    throw mustJoinAnew(`Host ${host} was revoked or deployed anew since it used this token`, host);
  }

  private admitExpired(
    stores: Stores,
    request: JoinRequest,
    proof: Extract<JoinProof, { kind: 'expired' }>,
  ): Admission {
    const { authority, clock } = this.options;
    const certificate = authority.readCertificate(proof.certificatePem);
    checkExpiredProof(
      {
        host: request.host,
        subject: certificate.subject,
        expiresAtMs: certificate.expiresAtMs,
        isSigned: certificate.verify(Buffer.from(request.csr), proof.signature),
        recorded: stores.identities.find(certificate.serial),
        deploymentId: request.deploymentId,
        known: stores.hosts.findByName(request.host),
      },
      clock.nowMs(),
    );
    return { kind: 'renewed' };
  }

  /**
   * Judges again: while the certificate was signed, somebody may have used or revoked something.
   *
   * @returns where the host is to dial; nothing: what is advertised
   */
  private record(tx: Tx, request: JoinRequest, csr: CertificateRequest, issued: IssuedCertificate): readonly string[] {
    const { events, clock } = this.options;
    const { host } = request;
    const nowMs = clock.nowMs();
    const admission = this.admit(tx, request, csr);
    if (admission.kind === 'first') {
      tx.tokens.use(admission.token.id, host, csr.keyHash);
      this.replaceIdentities(tx, host, nowMs);
      setUpHost(tx, request, admission.token.sessionAddresses, nowMs);
    }
    tx.identities.insert(identityOf(host, issued));
    events.record(tx, {
      atMs: nowMs,
      kind: admission.kind === 'renewed' ? 'host.renewed' : 'host.joined',
      message: `${host} ${WORDS[admission.kind]}`,
      actor: `agent:${host}`,
      host,
      details: { deploymentId: request.deploymentId, serial: issued.serial },
    });
    return tx.hosts.findByName(host)?.sessionAddresses ?? [];
  }

  private replaceIdentities(tx: Tx, host: HostName, nowMs: number): void {
    const serials = tx.identities.revoke('agent', host, nowMs);
    const known = tx.hosts.findByName(host);
    const reason = mustJoinAnew(`Host ${host} joined anew, with another identity`, host);
    tx.onCommitted(() => {
      this.options.calls.cut(serials, reason);
      if (known !== undefined) this.options.cutHost(known.id, reason.message);
    });
  }
}

function identityOf(host: string, issued: IssuedCertificate): Identity {
  const { serial, issuedAtMs, expiresAtMs } = issued;
  return { serial, role: 'agent', name: host, issuedAtMs, expiresAtMs, revokedAtMs: undefined };
}

function setUpHost(tx: Tx, request: JoinRequest, sessionAddresses: readonly string[], nowMs: number): void {
  const known = tx.hosts.findByName(request.host);
  // The counter of a new deployment begins anew.
  const { deploymentId } = request;
  const identity = { deploymentId, sessionCounter: 0, joinedAtMs: nowMs, revokedAtMs: undefined, sessionAddresses };
  const clockOffsetMs = request.nowMs - nowMs;
  if (known === undefined) tx.hosts.insert({ ...emptyHost(request.host), ...identity, clockOffsetMs });
  else tx.hosts.update({ ...known, ...identity, clockOffsetMs });
}

function emptyHost(
  name: string,
): Omit<Host, 'id' | 'deploymentId' | 'sessionCounter' | 'joinedAtMs' | 'revokedAtMs' | 'sessionAddresses'> {
  return {
    name,
    bootId: '',
    isSimulated: false,
    lastSeenAtMs: undefined,
    clockOffsetMs: 0,
    facts: undefined,
  };
}
