import type { Subject } from '../domain/identity-rule.js';

/** A request (PKCS #10) that was checked. */
export interface CertificateRequest {
  /** SHA-256 of the public key (SPKI, DER), hex. */
  readonly keyHash: string;
  readonly pem: string;
}

/** Times are milliseconds since 1970, whole seconds. */
export interface IssuedCertificate {
  readonly pem: string;
  /** Hex, lower case. */
  readonly serial: string;
  readonly issuedAtMs: number;
  readonly expiresAtMs: number;
}

/** One that this CA issued, whether or not it has ended. */
export interface ReadCertificate {
  readonly serial: string;
  readonly subject: Subject;
  readonly expiresAtMs: number;
  /** Whether the certificate's key made this ECDSA-SHA256 signature (DER). */
  verify(data: Uint8Array, signature: Uint8Array): boolean;
}

/** The controller's own certificate authority. */
export interface CertificateAuthority {
  readonly certificatePem: string;
  /** SHA-256 of its certificate (DER), hex: what join tokens carry. */
  readonly pin: string;

  /**
   * @param name what the request must be for: its only common name; a subject alternative name may only repeat it
   * @throws {AppError} `invalid` if it is malformed, not signed by its own key, of another kind of key than P-256, or for
   *   another name
   */
  readRequest(pem: string, name: string): Promise<CertificateRequest>;

  /** Signs a client certificate from now on for `lifeMs` milliseconds. */
  issue(request: CertificateRequest, subject: Subject, lifeMs: number): Promise<IssuedCertificate>;

  /** @throws {AppError} `unauthenticated` if this CA did not issue it; `invalid` if it is no certificate */
  readCertificate(pem: string): ReadCertificate;
}
