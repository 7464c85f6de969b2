/** A rate with room for a burst. */
export interface RateRule {
  readonly perSecond: number;
  /** What a caller that was idle may do at once; 1 up. */
  readonly burst: number;
}

export interface Bucket {
  readonly tokens: number;
  /** Milliseconds on any clock that does not go back. */
  readonly atMs: number;
}

export function fullBucket(rule: RateRule, nowMs: number): Bucket {
  return { tokens: rule.burst, atMs: nowMs };
}

/** The bucket as it is now. */
export function refill(bucket: Bucket, rule: RateRule, nowMs: number): Bucket {
  const gained = ((nowMs - bucket.atMs) * rule.perSecond) / 1000;
  return { tokens: Math.min(rule.burst, bucket.tokens + gained), atMs: nowMs };
}

/** @returns the bucket without one token, or how long until there is one, in milliseconds */
export function takeToken(
  bucket: Bucket,
  rule: RateRule,
  nowMs: number,
): { readonly kind: 'taken'; readonly bucket: Bucket } | { readonly kind: 'empty'; readonly waitMs: number } {
  const now = refill(bucket, rule, nowMs);
  if (now.tokens >= 1) return { kind: 'taken', bucket: { ...now, tokens: now.tokens - 1 } };
  // Without the last digits, which are rounding: 1.0000000001 ms is 1 ms.
  return { kind: 'empty', waitMs: Math.max(1, Math.ceil(((1 - now.tokens) * 1000) / rule.perSecond - 1e-6)) };
}
