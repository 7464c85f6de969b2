/** Keys and certificate requests, P-256. */
export interface KeyMaker {
  /** A new key. @returns PEM, PKCS #8 */
  makeKey(): Promise<string>;

  /**
   * @param host the common name
   * @returns PEM, PKCS #10, signed by the key
   * @throws {AppError} `invalid` if it is not such a key
   */
  makeRequest(keyPem: string, host: string): Promise<string>;

  /** ECDSA with SHA-256. @returns DER */
  sign(keyPem: string, data: Uint8Array): Uint8Array;

  /** @throws {AppError} `invalid` if it is no certificate */
  readValidity(certificatePem: string): { readonly notBeforeMs: number; readonly notAfterMs: number };
}
