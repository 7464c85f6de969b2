import { createHash } from 'node:crypto';
import { formatJoinToken } from '../../shared/domain/join-token.js';
import { wrongState } from '../../shared/errors.js';
import type { Caller } from '../domain/caller.js';
import { parseHostPattern } from '../domain/join-token.js';
import type { Clock, RandomSource } from '../ports/environment.js';
import type { EventLog } from './event-log.js';
import type { Journal } from './journal.js';

const SECRET_BYTES = 32;

export interface TokenServiceOptions {
  readonly journal: Journal;
  readonly events: EventLog;
  readonly clock: Clock;
  readonly random: RandomSource;
  /** SHA-256 of the CA's certificate, hex. */
  readonly caPin: string;
  /** "host:port" of the join listener, for agents; empty while it is off. */
  readonly joinAddresses: () => readonly string[];
}

/** "host:port": where the hosts of a token dial instead of what the controller advertises. */
export interface TunnelEnds {
  readonly session: readonly string[];
  readonly join: readonly string[];
}

export interface NewToken {
  /** Secret; nobody can have it again. */
  readonly text: string;
  readonly expiresAtMs: number;
}

export class TokenService {
  private readonly options: TokenServiceOptions;

  constructor(options: TokenServiceOptions) {
    this.options = options;
  }

  /**
   * A request that is repeated makes another token: its answer is a secret, and secrets are not kept.
   *
   * @param hostPattern a host name, or a pattern with `*`
   * @param uses 1 to 10,000
   * @param ttlMs milliseconds; 10,000 to 86,400,000
   * @param ends `undefined`: hosts dial what the controller advertises
   * @throws {AppError} `invalid` (pattern), `wrong_state` (no join listener)
   */
  async create(
    hostPattern: string,
    uses: number,
    ttlMs: number,
    ends: TunnelEnds | undefined,
    caller: Caller,
  ): Promise<NewToken> {
    const { journal, events, clock, random, caPin } = this.options;
    const pattern = parseHostPattern(hostPattern);
    const advertised = this.options.joinAddresses();
    if (advertised.length === 0) {
      throw wrongState('The controller has no join listener', { hint: 'start it with --join-listen HOST:PORT' });
    }
    const secret = Buffer.from(random.bytes(SECRET_BYTES)).toString('hex');
    const nowMs = clock.nowMs();
    const expiresAtMs = nowMs + ttlMs;
    await journal.submit((tx) => {
      const sessionAddresses = ends?.session ?? [];
      const secretHash = hashSecret(secret);
      tx.tokens.insert({ secretHash, hostPattern: pattern, usesLeft: uses, expiresAtMs, sessionAddresses });
      events.record(tx, {
        atMs: nowMs,
        kind: 'token.created',
        message: `a join token for ${pattern} was made, for ${String(uses)} ${uses === 1 ? 'use' : 'uses'}`,
        actor: caller.actor,
        requestId: caller.requestId,
      });
    });
    const joinAddresses = ends?.join ?? advertised;
    return { text: formatJoinToken({ secret, caPin, joinAddresses, hostPattern: pattern }), expiresAtMs };
  }
}

/** What is kept of a secret. A plain hash is enough: there is nothing to guess in 256 random bits. */
export function hashSecret(secret: string): string {
  return createHash('sha256').update(secret).digest('hex');
}
