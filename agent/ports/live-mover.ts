import type { LiveGuest } from '../domain/live-move.js';
import type { LiveAdmission, LiveOffer } from '../../shared/domain/live-migration.js';

/**
 * Takes domains from this host to another one while they run, and lets them in. A migration has an id, the same on both; what is
 * made for it is gone after {@link closeDeparture} and {@link closeArrival}.
 *
 * At its end a domain of that name runs on one of both hosts, whatever dies: the receiver starts it only when the sender has
 * given it up.
 */
export interface LiveMover {
  /**
   * @throws {AppError} `wrong_state` (with a hint, for a disk that no other host can be shown to see, or a Xen that moves no such
   *   domain), `unavailable`
   */
  offer(
    id: string,
    guest: LiveGuest,
    signal: AbortSignal,
  ): Promise<Pick<LiveOffer, 'disks' | 'publicKey' | 'xenVersion'>>;

  /**
   * Lets one domain in, once, after a look at the same disks here.
   *
   * @param cfgPath that it has here
   * @throws {AppError} `wrong_state` (not the same devices, in use here, an older Xen), `unavailable`
   */
  admit(id: string, cfgPath: string, offer: LiveOffer, signal: AbortSignal): Promise<LiveAdmission>;

  /**
   * Sends the domain, if its disks are the same there; returns when it is there and nothing of it is here. What fails may have
   * happened all the same. An abort ends it as a cut line does: the guest goes on where it is.
   *
   * @throws {AppError} `wrong_state` (not the same devices, or it failed: details `output`), `unavailable`, `timeout`
   */
  handOver(
    id: string,
    offer: LiveOffer,
    admission: LiveAdmission,
    progress: (message: string) => void,
    signal: AbortSignal,
  ): Promise<void>;

  /** Nothing comes any more, and nothing is on its way when it returns: a domain that has come is there. Idempotent. @throws {AppError} `unavailable` */
  closeArrival(id: string): Promise<void>;

  /** Nothing goes any more, and nothing is on its way when it returns. Idempotent. @throws {AppError} `unavailable` */
  closeDeparture(id: string): Promise<void>;

  /** After a start: what a process that was killed left open is closed. */
  recover(): Promise<void>;
}
