import type { Hold } from '../domain/boot-plan.js';

export interface HeldItem extends Hold {
  /** Where it is now. */
  readonly heldAt: string;
}

export type Release =
  | { readonly kind: 'released'; readonly path: string }
  /** Something else has that path now, or it cannot be written: the item stays held. `reason` is for people. */
  | { readonly kind: 'kept'; readonly path: string; readonly heldAt: string; readonly reason: string };

/** Where autostart entries and saved states are that xendomains is not to see. */
export interface HeldFolder {
  /**
   * Moves them away, each with a note of where it was. Durable on return; a crash at any point leaves an item where it
   * was, or held, or both, and calling again with the same ends the move.
   *
   * @throws {AppError} `unavailable` (disk full, ...): then at least one is still where it was
   */
  hold(items: readonly Hold[]): readonly HeldItem[];

  /** Puts everything back where it was; overwrites nothing. Idempotent. @throws {AppError} `unavailable` */
  releaseAll(): readonly Release[];
}
