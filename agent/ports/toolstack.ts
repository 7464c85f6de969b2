import type { Resize } from '../domain/set-plan.js';
import type { Domain, DomainLimits, VmMetrics } from '../domain/vm.js';

export interface DomainSample {
  readonly name: string;
  readonly metrics: VmMetrics;
}

/**
 * Xen, or what stands for it. Domain-0 is never listed and never touched. A domain is known by its name, which the host
 * keeps unique; domids come and go. Every method may throw `unavailable` (the toolstack does not answer).
 */
export interface Toolstack {
  /** No Xen is behind it: every listing and metric says so. */
  readonly isSimulated: boolean;

  /**
   * The number of the domain, which none has had before it since the host booted: one that is made anew has another.
   *
   * @throws {AppError} `wrong_state` (no such domain)
   */
  domidOf(name: string): Promise<number>;

  /** All domains that exist now. Cheap enough to be asked at each change: forks nothing. */
  listDomains(): Promise<readonly Domain[]>;

  /**
   * Calls `onChange` after a domain came, went or changed state; it says neither which nor how, several may be told as
   * one, and one may be told for nothing.
   *
   * @returns ends the watch; idempotent
   */
  watch(onChange: () => void): () => void;

  /**
   * Makes a domain of a cfg file and returns as soon as it exists: the guest may still be booting. Not idempotent.
   *
   * An abort does not leave half a domain: it is undone, or finished if that is quicker.
   *
   * @param cfgPath absolute
   * @throws {AppError} `not_found` (no such file), `invalid` (a cfg that xl refuses), `already_exists` (a domain of that
   *   name), `wrong_state` (it could not be made: details `output`), `timeout` (300 s)
   */
  create(cfgPath: string, signal: AbortSignal): Promise<void>;

  /**
   * Asks the guest to power off and waits until the domain is gone. Idempotent: a domain that is shutting down is waited
   * for, and one that is gone is done. An abort ends the wait; the guest has been asked all the same.
   *
   * @param timeoutSeconds 1 to 3,600
   * @throws {AppError} `timeout` when it is still there then: left alone; `wrong_state` (the request failed)
   */
  shutdown(name: string, timeoutSeconds: number, signal: AbortSignal): Promise<void>;

  /**
   * Ends the domain at once, as pulling the plug. Idempotent: one that is gone is done.
   *
   * @throws {AppError} `wrong_state` (it could not be ended: details `output`), `timeout` (60 s)
   */
  destroy(name: string, signal: AbortSignal): Promise<void>;

  /**
   * Asks the guest to reboot and waits until one of its name is there anew. An abort ends the wait; the guest has been asked
   * all the same. Not idempotent.
   *
   * @param timeoutSeconds 1 to 3,600
   * @throws {AppError} `wrong_state` (no such domain, or the request failed), `timeout` when it has not then: left alone
   */
  reboot(name: string, timeoutSeconds: number, signal: AbortSignal): Promise<void>;

  /**
   * Takes the CPU from a domain, which keeps its memory. Idempotent.
   *
   * @throws {AppError} `wrong_state` (no such domain, or it failed: details `output`), `timeout` (30 s)
   */
  pause(name: string, signal: AbortSignal): Promise<void>;

  /** The opposite. @throws {AppError} as {@link pause} */
  unpause(name: string, signal: AbortSignal): Promise<void>;

  /** @throws {AppError} `wrong_state` (no such domain) */
  readLimits(name: string): Promise<DomainLimits>;

  /**
   * Gives a domain other memory and vcpus while it runs; what is left out stays. The guest takes and gives them in its own
   * time. Idempotent.
   *
   * @param to within {@link readLimits}
   * @throws {AppError} `wrong_state` (no such domain, or it failed: details `output`), `timeout` (30 s)
   */
  resize(name: string, to: Resize, signal: AbortSignal): Promise<void>;

  /** The counters of all domains that exist now; one that cannot be sampled is left out. */
  sample(): Promise<readonly DomainSample[]>;
}
