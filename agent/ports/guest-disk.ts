import type { Ipv4 } from '../../shared/domain/ipv4.js';
import type { RenewSettings } from '../domain/guest/renew-plan.js';
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
  /** The public ssh host keys that it will show, each as "TYPE BASE64"; `undefined` or empty: not known. */
  readonly hostKeys?: readonly string[] | undefined;
}

/**
 * One write, open until it is kept or undone: an open one survives the agent's death and is found again by
 * {@link GuestDisk.findOpen}.
 */
export interface GuestChange {
  /** For people: what is dangerous in this guest and was left as it is. */
  readonly warnings: readonly string[];

  /**
   * Puts back every byte, mode and owner that the write changed. Idempotent.
   *
   * @throws {AppError} `wrong_state` if the disk is in use, `raced` if it was changed since: nothing is put back and the
   *   change stays open; `unavailable`
   */
  undo(): Promise<void>;

  /**
   * It stands: what an undo would need is let go. After a write, what the files were before the first write that stood is
   * kept for {@link GuestDisk.restore}; after a restore, that is let go too. Idempotent. @throws {AppError} `unavailable`
   */
  keep(): Promise<void>;
}

/** The files inside a domU's disk, read and written without mounting it. */
export interface GuestDisk {
  /**
   * May be asked while the guest runs: what it says is then as old as the guest's last write, or as the last time it was
   * asked. Cheap when the image did not change since.
   *
   * @returns `undefined` if it cannot be told: no such image, a file system or a distribution that is not known
   */
  read(guest: Guest): Promise<GuestNetwork | undefined>;

  /**
   * Gives the stopped guest these addresses, its DNS and, if there is one, its hostname. All or nothing, and durable on
   * return. Writing the same again changes nothing. Vifs that are not named are left alone.
   *
   * @throws {AppError} `wrong_state` (something uses the disk, its file system is damaged, no room in it, an earlier change
   *   is open), `not_found` (no such image), `invalid` (a disk or guest that cannot be written), `timeout` (120 s),
   *   `unavailable` (no room on the host, a program is missing)
   */
  write(guest: Guest, settings: GuestSettings, signal: AbortSignal): Promise<GuestChange>;

  /**
   * Makes the files of the stopped guest what they were before the first write that stood since the last restore that did;
   * what was written to other files meanwhile stays. All or nothing, and durable on return.
   *
   * @returns `undefined` if no write changed anything of it
   * @throws {AppError} as {@link write}; `wrong_state` also if one of the files was not kept
   */
  restore(guest: Guest, signal: AbortSignal): Promise<GuestChange | undefined>;

  /**
   * Makes of the stopped guest, a fresh copy of another, a machine of its own: new ssh host keys, no machine id, what the
   * settings say. Nothing is kept of what was there.
   *
   * @returns warnings, for people
   * @throws {AppError} as {@link write}; `invalid` also for a key that is none
   */
  renew(guest: Guest, settings: RenewSettings, signal: AbortSignal): Promise<readonly string[]>;

  /**
   * Makes the file system of the stopped guest's root as long as its disk, which has become longer; of a whole disk the
   * partition first, which has to be the last one. Nothing is done where it is so already. Not all or nothing: for a disk
   * that was just made and goes if this fails.
   *
   * @throws {AppError} as {@link write}, within 15 min; `invalid` also for a partition that another one comes after
   */
  grow(guest: Guest, signal: AbortSignal): Promise<void>;

  /** Lets go of all that is kept of the guest of that cfg; its disk is left alone. @throws {AppError} `unavailable` */
  forget(cfgPath: string): Promise<void>;

  /**
   * The cfg has another path: what is kept of its guest goes with it. No change may be open. Repeating it changes nothing.
   *
   * @throws {AppError} `unavailable`
   */
  follow(from: string, to: string): Promise<void>;

  /** The open change of the guest of that cfg. @throws {AppError} `unavailable` */
  findOpen(cfgPath: string): Promise<GuestChange | undefined>;
}
