import { AppError } from '../../../shared/errors.js';
import { fullBucket, refill, takeToken, type Bucket, type RateRule } from '../../domain/token-bucket.js';

/** Clients that are remembered; those that used little lately are forgotten first. */
const MAX_CLIENTS = 10_000;

/** One rate for each client of a listener. */
export class RateLimit {
  private readonly rule: RateRule;
  private readonly nowMs: () => number;
  private readonly buckets = new Map<string, Bucket>();

  /** @param nowMs a clock that does not go back */
  constructor(rule: RateRule, nowMs: () => number = () => performance.now()) {
    this.rule = rule;
    this.nowMs = nowMs;
  }

  /** @throws {AppError} `unavailable` if the client is over its rate; `retryAfterMs` tells when it is not */
  check(client: string): void {
    const nowMs = this.nowMs();
    const taken = takeToken(this.buckets.get(client) ?? fullBucket(this.rule, nowMs), this.rule, nowMs);
    if (taken.kind === 'empty') {
      throw new AppError(
        'unavailable',
        `${client} asks more often than ${String(this.rule.perSecond)} times a second`,
        {
          retryAfterMs: String(taken.waitMs),
          hint: `wait ${String(taken.waitMs)} ms and try again`,
        },
      );
    }
    if (this.buckets.size >= MAX_CLIENTS && !this.buckets.has(client)) this.forgetIdle(nowMs);
    this.buckets.set(client, taken.bucket);
  }

  /** A full bucket is as good as none. When all are in use, the oldest goes: memory is bounded, whoever calls. */
  private forgetIdle(nowMs: number): void {
    for (const [client, bucket] of this.buckets) {
      if (refill(bucket, this.rule, nowMs).tokens >= this.rule.burst) this.buckets.delete(client);
    }
    const [oldest] = this.buckets.keys();
    if (this.buckets.size >= MAX_CLIENTS && oldest !== undefined) this.buckets.delete(oldest);
  }
}
