import type { PeerCertificate } from 'node:tls';
import { AppError } from '../../../shared/errors.js';
import { parseIdentityUri } from '../../domain/identity-rule.js';
import type { Role } from '../../domain/method-role.js';
import type { Clock } from '../../ports/environment.js';
import type { Identity } from '../../ports/store.js';

/** Who calls. */
export interface Principal {
  readonly role: Role;
  /** "admin:<name>", "agent:<host>" or "nobody:<address>"; stands in events. */
  readonly actor: string;
  readonly agentHost: string | undefined;
  /** The certificate's serial and end; `undefined` without one. */
  readonly certificate: { readonly serial: string; readonly expiresAtMs: number } | undefined;
}

/** What a listener knows of a call before it looks at the request. */
export interface Peer {
  /** "address:port", or anything for a unix socket. */
  getPeer(): string;
  getAuthContext(): { readonly sslPeerCertificate?: PeerCertificate };
}

/** @throws {AppError} `unauthenticated` */
export type Identify = (peer: Peer) => Principal;

/** The unix socket: who may open it is admin. */
export function localAdmin(name: string): Identify {
  const principal: Principal = { role: 'admin', actor: `admin:${name}`, agentHost: undefined, certificate: undefined };
  return () => principal;
}

/** The join listener. */
export const anonymous: Identify = (peer) => ({
  role: 'none',
  actor: `nobody:${addressOf(peer.getPeer())}`,
  agentHost: undefined,
  certificate: undefined,
});

/**
 * The mutual-TLS listener. TLS has checked the signature of the CA at the handshake; here it is checked, at each call,
 * that the certificate is still good: a connection outlives both its end and its revocation.
 */
export function byCertificate(find: (serial: string) => Identity | undefined, clock: Clock): Identify {
  return (peer) => {
    const shown = peer.getAuthContext().sslPeerCertificate;
    const subject = parseIdentityUri(uriOf(shown));
    if (shown === undefined || subject === undefined)
      throw refused('A client certificate of this controller is needed');
    const serial = shown.serialNumber.toLowerCase();
    const identity = find(serial);
    if (identity?.role !== subject.role || identity.name !== subject.name) {
      throw refused(`The certificate of ${subject.name} is unknown to this controller`);
    }
    if (identity.revokedAtMs !== undefined) throw refused(`The certificate of ${subject.name} was revoked`);
    if (clock.nowMs() >= identity.expiresAtMs) throw refused(`The certificate of ${subject.name} has expired`);
    return {
      role: subject.role,
      actor: `${subject.role}:${subject.name}`,
      agentHost: subject.role === 'agent' ? subject.name : undefined,
      certificate: { serial, expiresAtMs: identity.expiresAtMs },
    };
  };
}

/** Our certificates have one name. Node prints it so: "URI:domherd://agent/dom0-1". */
function uriOf(certificate: PeerCertificate | undefined): string {
  const names = certificate?.subjectaltname ?? '';
  return names.startsWith('URI:') ? names.slice('URI:'.length) : '';
}

function refused(message: string): AppError {
  return new AppError('unauthenticated', message, {
    hint: 'a host joins anew (domherd host token NAME), a client gets a new one (domherd certificate issue NAME)',
  });
}

/** Without the port, so that one client is one client. */
function addressOf(peer: string): string {
  return peer.replace(/:\d+$/, '');
}
