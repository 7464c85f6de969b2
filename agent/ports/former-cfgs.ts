import type { FormerCfg } from '../domain/former-cfg.js';

/** What is kept of each cfg from before domherd wrote it; the guests' files are kept by the guest disk. */
export interface FormerCfgs {
  /** @throws {AppError} `unavailable`, `wrong_state` (damaged) */
  find(cfgPath: string): Promise<FormerCfg | undefined>;

  /**
   * Replaces what is kept, or lets go of it (`undefined`). Durable on return; the same again writes nothing.
   *
   * @throws {AppError} `unavailable`
   */
  put(cfgPath: string, former: FormerCfg | undefined): Promise<void>;
}
