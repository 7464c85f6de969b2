import type { Deployment } from '../domain/deployment.js';
import type { HostFacts } from '../domain/session-message.js';

/** What this machine is. */
export interface HostReport {
  /** May fork; asked once a session at most. */
  readFacts(): Promise<HostFacts>;

  /** Forks nothing. */
  readMemoryFreeMib(): Promise<number>;
}

/** What is new at each deployment of the machine's image. */
export interface DeploymentSource {
  /** 1 to 128 characters. @throws {AppError} `wrong_state` if it cannot be told */
  readDeploymentId(): Promise<string>;

  /** The same with what it was made of. @throws {AppError} `wrong_state` if it cannot be told */
  readDeployment(): Promise<Deployment>;
}
