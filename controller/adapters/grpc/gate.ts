import type { Logger } from 'pino';
import { AppError } from '../../../shared/errors.js';
import { judgeCall } from '../../domain/method-role.js';
import type { Clock } from '../../ports/environment.js';
import type { OpenCalls } from './open-calls.js';
import type { Identify, Peer, Principal } from './principal.js';
import type { RateLimit } from './rate-limit.js';

export interface GateOptions {
  readonly identify: Identify;
  readonly calls: OpenCalls;
  readonly clock: Clock;
  /** `undefined`: as often as it likes. */
  readonly rate: RateLimit | undefined;
  readonly log: Logger;
}

/** The part of a method's definition that the gate looks at. */
export interface GatedMethod {
  readonly path: string;
  readonly requestStream: boolean;
  readonly responseStream: boolean;
}

export interface Admission {
  readonly principal: Principal;
  /** To be called once, when the call has ended. */
  release(): void;
}

/** setTimeout(3) takes no more. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** What every call of a listener passes before its handler runs. Default: deny. */
export class Gate {
  readonly log: Logger;
  private readonly options: GateOptions;

  constructor(options: GateOptions) {
    this.options = options;
    this.log = options.log;
  }

  /**
   * @param abort aborted when the certificate is revoked or ends, or the server stops
   * @throws {AppError} `unauthenticated`, `forbidden`, `unavailable` (over the rate), `exhausted` (too many streams)
   */
  admit(peer: Peer, method: GatedMethod, abort: AbortController): Admission {
    const { identify, rate, calls } = this.options;
    const principal = identify(peer);
    authorize(principal, method.path);
    rate?.check(principal.actor);
    const isStream = method.requestStream || method.responseStream;
    const serial = principal.certificate?.serial;
    const forget = calls.add({ client: principal.actor, serial, isStream, abort });
    const disarm = isStream ? this.endWithCertificate(principal, abort) : undefined;
    return {
      principal,
      release: () => {
        forget();
        disarm?.();
      },
    };
  }

  /** A stream must not outlive what it was opened with. */
  private endWithCertificate(principal: Principal, abort: AbortController): (() => void) | undefined {
    if (principal.certificate === undefined) return undefined;
    const restMs = principal.certificate.expiresAtMs - this.options.clock.nowMs();
    const timer = setTimeout(
      () => abort.abort(new AppError('unauthenticated', `The certificate of ${principal.actor} has expired`)),
      Math.min(restMs, MAX_TIMER_MS),
    );
    timer.unref();
    return () => clearTimeout(timer);
  }
}

function authorize({ role, actor }: Principal, method: string): void {
  switch (judgeCall(method, role)) {
    case 'allowed':
      return;
    case 'unauthenticated':
      throw new AppError('unauthenticated', `${method} needs a client certificate`, { method });
    case 'forbidden':
      throw new AppError('forbidden', `${actor} may not call ${method}`, { method, role });
  }
}
