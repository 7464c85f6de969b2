import tls from 'node:tls';
import { experimental, type ServerCredentials } from '@grpc/grpc-js';
import type { Logger } from 'pino';
import { AppError } from '../../../shared/errors.js';
import type { Clock } from '../../ports/environment.js';

/** PEM; see X509Authority.issueServer. */
export interface ServerPair {
  readonly chainPem: string;
  readonly keyPem: string;
  readonly expiresAtMs: number;
}

export interface ServerTlsOptions {
  /** PEM: who signs client certificates. */
  readonly caPem: string;
  /** A new certificate for our listeners, good for `lifeMs` milliseconds. */
  readonly issue: (lifeMs: number) => Promise<ServerPair>;
  readonly clock: Clock;
  readonly log: Logger;
}

type Provider = Parameters<typeof experimental.createCertificateProviderServerCredentials>[0];
type IdentityListener = Parameters<Provider['addIdentityCertificateListener']>[0];
type CaListener = Parameters<Provider['addCaCertificateListener']>[0];

const DAY_MS = 86_400_000;
const LIFE_MS = 90 * DAY_MS;
/** Renewed with this much left: weeks to notice that it failed. */
const RENEW_BEFORE_MS = 30 * DAY_MS;
// Not one long timer: those count running time, and stop at 24 days.
const LOOK_EVERY_MS = 3_600_000;

/** The certificate of the TCP listeners, new at each start and renewed while they run. */
export class ServerTls {
  private readonly options: ServerTlsOptions;
  private readonly listeners = new Set<IdentityListener>();
  private timer: NodeJS.Timeout | undefined;
  private pair: ServerPair | undefined;

  constructor(options: ServerTlsOptions) {
    this.options = options;
  }

  async start(): Promise<void> {
    await this.renew();
    this.timer = setInterval(() => void this.renewIfDue(), LOOK_EVERY_MS);
    this.timer.unref();
  }

  stop(): void {
    clearInterval(this.timer);
  }

  /** @param clients `required`: mutual TLS; `anonymous`: nobody is asked for a certificate */
  credentials(clients: 'required' | 'anonymous'): ServerCredentials {
    // grpc-js has no option for it. Set where programs begin; here it is made sure of.
    if (tls.DEFAULT_MIN_VERSION !== 'TLSv1.3') throw new AppError('internal', 'TLS below 1.3 is not switched off');
    const provider = this.provider();
    // The types call the first argument the CA's provider, the code takes it for the identity's (server-credentials.js of
    // 1.14). One object that is both is right either way; without a CA the identity must be first.
    return clients === 'required'
      ? experimental.createCertificateProviderServerCredentials(provider, provider, true)
      : experimental.createCertificateProviderServerCredentials(provider, null, false);
  }

  /** Public for tests: what the timer does. */
  async renewIfDue(): Promise<void> {
    const { clock, log } = this.options;
    if (this.pair !== undefined && this.pair.expiresAtMs - clock.nowMs() > RENEW_BEFORE_MS) return;
    try {
      await this.renew();
    } catch (error) {
      log.error({ err: error }, 'server certificate not renewed');
    }
  }

  private async renew(): Promise<void> {
    this.pair = await this.options.issue(LIFE_MS);
    for (const listener of this.listeners) this.tell(listener);
    this.options.log.info({ expiresAtMs: this.pair.expiresAtMs }, 'server certificate issued');
  }

  private provider(): Provider {
    const caCertificate = Buffer.from(this.options.caPem);
    return {
      addCaCertificateListener: (listener: CaListener) => listener({ caCertificate }),
      removeCaCertificateListener: () => undefined,
      addIdentityCertificateListener: (listener) => {
        this.listeners.add(listener);
        // Not at once: grpc-js asks before its server listens to changes, and would miss the first one (1.14).
        queueMicrotask(() => this.tell(listener));
      },
      removeIdentityCertificateListener: (listener) => this.listeners.delete(listener),
    };
  }

  private tell(listener: IdentityListener): void {
    if (this.pair === undefined) return;
    listener({ certificate: Buffer.from(this.pair.chainPem), privateKey: Buffer.from(this.pair.keyPem) });
  }
}
