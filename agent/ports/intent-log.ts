import type { FormerCfg } from '../domain/former-cfg.js';

/** That a VM's cfg and guest are being changed together. */
export interface Intent {
  readonly cfgPath: string;
  /** The whole cfg before and after, one character a byte. */
  readonly before: string;
  readonly after: string;
  /** What is kept of the cfg from before domherd wrote it, before and after; `undefined`: nothing. */
  readonly formerBefore?: FormerCfg | undefined;
  readonly formerAfter?: FormerCfg | undefined;
}

/** The changes that are under way, at most one a cfg; they outlive the process, whatever ends it. */
export interface IntentLog {
  /** One that is damaged is moved aside, told in the log, and left out. @throws {AppError} `unavailable` */
  list(): Promise<readonly Intent[]>;

  /** @throws {AppError} `unavailable`, `wrong_state` (damaged) */
  find(cfgPath: string): Promise<Intent | undefined>;

  /** Durable on return. @throws {AppError} `unavailable` */
  begin(intent: Intent): Promise<void>;

  /** Durable on return. One that is not there has ended. @throws {AppError} `unavailable` */
  end(cfgPath: string): Promise<void>;
}
