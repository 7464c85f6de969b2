import type { HostBridges } from '../../shared/domain/bridge.js';

/** The bridges of this host. Nothing here makes or changes one: a mistake would cut dom0 off. */
export interface Bridges {
  /** As they are now; forks nothing. @throws {AppError} `unavailable` if they cannot be read */
  readBridges(): Promise<HostBridges>;
}
