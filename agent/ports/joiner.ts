export interface JoinRequest {
  readonly host: string;
  /** PEM. */
  readonly request: string;
  readonly proof:
    | { readonly kind: 'token'; readonly secret: string }
    | { readonly kind: 'expired'; readonly certificatePem: string; readonly signature: Uint8Array };
  readonly deploymentId: string;
  /** Milliseconds since 1970. */
  readonly nowMs: number;
}

/** How the controller is told from an impostor. */
export type Trust =
  /** SHA-256 of its CA's certificate (DER), hex. */
  { readonly kind: 'pin'; readonly caPin: string } | { readonly kind: 'ca'; readonly caPem: string };

export interface Joined {
  readonly certificatePem: string;
  readonly caPem: string;
  /** "host:port", in the order to try; never empty. */
  readonly addresses: readonly string[];
}

export interface Joiner {
  /**
   * Asks the addresses in turn until the trusted controller answers. Repeating it with the same key gives the same.
   *
   * @param addresses "host:port"
   * @throws {AppError} `unavailable` (none answers: details say why, by address), `unauthenticated` (the one that answers is
   *   not the trusted one; or it refuses token or certificate), `wrong_state` (clock off; other protocol version)
   */
  join(request: JoinRequest, addresses: readonly string[], trust: Trust, signal: AbortSignal): Promise<Joined>;
}
