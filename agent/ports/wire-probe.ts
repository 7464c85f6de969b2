import type { Ipv4 } from '../../shared/domain/ipv4.js';
import type { Mac } from '../../shared/domain/mac.js';

/** Being in use is an answer, not an error. */
export type WireAnswer =
  /** Nobody answered in time; that is no proof that nobody has it. */
  { readonly kind: 'silent' } | { readonly kind: 'answered'; readonly mac: Mac };

/** Asks the layer 2 network who has an address, as RFC 5227 does before it takes one. */
export interface WireProbe {
  /**
   * Changes no ARP cache: the sender's address of the probe is 0.0.0.0. Takes at most 3 s.
   *
   * @param bridge where the vif is; `undefined`: the bridge that a vif without one gets
   * @throws {AppError} `unavailable` if nothing can be sent there (no such bridge, link down)
   */
  probe(address: Ipv4, bridge: string | undefined, signal: AbortSignal): Promise<WireAnswer>;
}
