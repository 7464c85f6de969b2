import type { Deployment } from '../domain/deployment.js';
import type { HostEvent } from '../domain/host-event.js';
import type { LeaseRecord } from '../domain/lease-record.js';

/** Which deployment the cfg files of this host were last made right for. */
export interface DeploymentRecord {
  /** `undefined`: none, or one that cannot be read, which is a new deployment. */
  read(): Promise<Deployment | undefined>;

  /** Durable on return. @throws {AppError} `unavailable` */
  write(deployment: Deployment): Promise<void>;
}

/** What this host remembers of its leases, for a boot without the controller. */
export interface LeaseBook {
  /** Records that cannot be read are none. */
  list(): Promise<readonly LeaseRecord[]>;

  /** Adds, or replaces those of the same vifs. Durable on return. @throws {AppError} `unavailable` */
  keep(records: readonly LeaseRecord[]): Promise<void>;

  /** Replaces all. Durable on return; the same again writes nothing. @throws {AppError} `unavailable` */
  replaceAll(records: readonly LeaseRecord[]): Promise<void>;
}

/** What happened while no controller could be told. */
export interface EventBacklog {
  /** Oldest first, at most 1,000. One that cannot be read is empty. */
  list(): Promise<readonly HostEvent[]>;

  /** Durable on return. @throws {AppError} `unavailable` */
  append(events: readonly HostEvent[]): Promise<void>;

  /** Forgets the first ones, which have arrived. @throws {AppError} `unavailable` */
  dropFirst(count: number): Promise<void>;
}
