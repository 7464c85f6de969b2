import type { Ipv4 } from '../../shared/domain/ipv4.js';
import type { GuestSettings } from '../domain/order.js';
import type { XlCfg } from '../domain/xl-cfg/syntax.js';

/** Whose disk: which image it is and where its root lies stands in the cfg. */
export interface Guest {
  readonly name: string;
  readonly cfgPath: string;
  readonly cfg: XlCfg;
}

/** What a guest's own files say. */
export interface GuestNetwork {
  /** Static addresses by vif index; none for DHCP. */
  readonly addresses: ReadonlyMap<number, Ipv4>;
  readonly hostname: string | undefined;
}

/** Undoes one write. */
export interface GuestChange {
  /** Puts back every byte, mode and owner that the write changed. @throws {AppError} as {@link GuestDisk.write} */
  undo(): Promise<void>;
}

/** The files inside a domU's disk, read and written without mounting it. */
export interface GuestDisk {
  /**
   * May be asked while the guest runs: what it says is then as old as the guest's last write. Cheap when the image did not
   * change since the last time.
   *
   * @returns `undefined` if it cannot be told: no such image, a file system or a distribution that is not known
   */
  read(guest: Guest): Promise<GuestNetwork | undefined>;

  /**
   * Gives the stopped guest these addresses, its DNS and, if there is one, its hostname. All or nothing, and durable on
   * return. Writing the same again changes nothing. Vifs that are not named are left alone.
   *
   * @throws {AppError} `wrong_state` (something uses the disk, its file system is damaged, no room in it),
   *   `not_found` (no such image), `invalid` (a guest whose network files are not understood), `timeout` (120 s)
   */
  write(guest: Guest, settings: GuestSettings, signal: AbortSignal): Promise<GuestChange>;
}
