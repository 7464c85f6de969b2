/** Wall clock. Milliseconds since 1970. */
export interface Clock {
  nowMs(): number;
}

/** Randomness of cryptographic quality. */
export interface RandomSource {
  bytes(count: number): Uint8Array;
}
