import type { Logger } from 'pino';
import { wrongState } from '../../shared/errors.js';
import { isExpired, renewalDueMs, type Identity } from '../domain/identity.js';
import type { Clock } from '../ports/clock.js';
import type { SessionChannel } from '../ports/controller-link.js';
import type { IdentityStore } from '../ports/identity-store.js';
import type { Joiner } from '../ports/joiner.js';
import type { KeyMaker } from '../ports/key-maker.js';
import { ensurePendingKey } from './pending-key.js';
import { sleep } from './sleep.js';

/** After a renewal that failed. A third of a day-long certificate's life holds many of these. */
const RETRY_MS = 300_000;
/** A clock that is set back or forth during a long sleep is noticed after this. */
const LOOK_MS = 600_000;

export interface RenewalParts {
  readonly clock: Clock;
  readonly identities: IdentityStore;
  readonly keys: KeyMaker;
  readonly joiner: Joiner;
  readonly log: Logger;
}

/** Keeps the certificate valid: each one has a key of its own. */
export class Renewal {
  readonly #parts: RenewalParts;

  constructor(parts: RenewalParts) {
    this.#parts = parts;
  }

  /**
   * The identity, with a certificate that has not run out: one that has is renewed at the join address by its own proof.
   *
   * @throws {AppError} `wrong_state` (not joined), or as {@link Joiner.join}
   */
  async validIdentity(signal: AbortSignal): Promise<Identity> {
    const identity = await this.#parts.identities.load();
    if (identity === undefined) throw wrongState('This host has no identity any more', { hint: JOIN_HINT });
    return isExpired(identity, this.#parts.clock.nowMs()) ? this.#rejoin(identity, signal) : identity;
  }

  /** Renews over the open session whenever it is time to, until the signal is aborted. @throws {AppError} */
  async keepRenewed(first: Identity, channel: SessionChannel, signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#parts;
    let identity = first;
    let notBeforeMs = 0;
    while (!signal.aborted) {
      const waitMs = Math.max(renewalDueMs(identity), notBeforeMs) - clock.nowMs();
      if (waitMs > 0) {
        await sleep(clock, Math.min(waitMs, LOOK_MS), signal);
        continue;
      }
      try {
        identity = await this.#renew(identity, channel, signal);
        log.info({ host: identity.host, expiresAt: new Date(identity.notAfterMs) }, 'certificate renewed');
      } catch (error) {
        log.warn({ err: error, retryInMs: RETRY_MS }, 'certificate not renewed');
        notBeforeMs = clock.nowMs() + RETRY_MS;
      }
    }
  }

  async #renew(identity: Identity, channel: SessionChannel, signal: AbortSignal): Promise<Identity> {
    const keyPem = await this.#parts.keys.makeKey();
    const request = await this.#parts.keys.makeRequest(keyPem, identity.host);
    const certificatePem = await channel.renew(request, signal);
    return this.#save({ ...identity, keyPem, certificatePem });
  }

  async #rejoin(identity: Identity, signal: AbortSignal): Promise<Identity> {
    const { keys, joiner, log, clock } = this.#parts;
    const { host, deploymentId, caPem, certificatePem } = identity;
    log.warn({ host, expiredAt: new Date(identity.notAfterMs) }, 'certificate ran out: renewing it by its proof');
    const keyPem = await ensurePendingKey(this.#parts.identities, keys);
    const request = await keys.makeRequest(keyPem, host);
    const signature = keys.sign(identity.keyPem, Buffer.from(request));
    const proof = { kind: 'expired', certificatePem, signature } as const;
    const joined = await joiner.join(
      { host, request, proof, deploymentId, nowMs: clock.nowMs() },
      identity.joinAddresses,
      { kind: 'ca', caPem },
      signal,
    );
    return this.#save({ ...identity, keyPem, certificatePem: joined.certificatePem, addresses: joined.addresses });
  }

  async #save(identity: Identity): Promise<Identity> {
    const valid = { ...identity, ...this.#parts.keys.readValidity(identity.certificatePem) };
    await this.#parts.identities.save(valid);
    return valid;
  }
}

export const JOIN_HINT =
  'on the frontend: domherd host token NAME; here: domherd-agent join, with the token on its input';
