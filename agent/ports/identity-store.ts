import type { Identity } from '../domain/identity.js';

/** Where the identity is kept. Key and certificate change together or not at all, whenever the power fails. */
export interface IdentityStore {
  /**
   * @returns `undefined` if this host has not joined
   * @throws {AppError} `wrong_state` if there is one that cannot be read (details `path`)
   */
  load(): Promise<Identity | undefined>;

  /** Replaces what is there; durable on return. @throws {AppError} `unavailable` */
  save(identity: Identity): Promise<void>;

  /** Puts the identity where it has no effect. @returns where to, `undefined` if there was none */
  moveAside(): Promise<string | undefined>;

  /**
   * The key of a join that is under way: one that is repeated after a crash has the same, so that a lost reply does not
   * use the token up. {@link save} forgets it.
   */
  loadPendingKey(): Promise<string | undefined>;
  savePendingKey(keyPem: string): Promise<void>;
}
