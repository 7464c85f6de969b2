/** Who this host is to its controller. */
export interface Identity {
  /** The certificate's common name. */
  readonly host: string;
  /** PEM, PKCS #8. Secret. */
  readonly keyPem: string;
  readonly certificatePem: string;
  /** The only root that is trusted. */
  readonly caPem: string;
  /** Where sessions go, "host:port", in the order to try. */
  readonly addresses: readonly string[];
  /** Where a certificate that ran out is renewed. */
  readonly joinAddresses: readonly string[];
  /** The deployment that it belongs to; in another it has no power. */
  readonly deploymentId: string;
  /** Milliseconds since 1970. */
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/** At two thirds of its life; milliseconds since 1970. */
export function renewalDueMs(identity: Identity): number {
  return identity.notBeforeMs + ((identity.notAfterMs - identity.notBeforeMs) * 2) / 3;
}

export function isExpired(identity: Identity, nowMs: number): boolean {
  return nowMs >= identity.notAfterMs;
}
