import type { HostId } from './vm.js';

/** What a host tells of itself at each session. */
export interface HostFacts {
  readonly agentVersion: string;
  readonly nodeVersion: string;
  readonly kernel: string;
  /** Empty on a simulated host. */
  readonly xenVersion: string;
  readonly cpus: number;
  readonly memoryMib: number;
  readonly memoryFreeMib: number;
  /** Where its cfg files are, absolute; `undefined`: its agent is older. */
  readonly cfgFolder?: string | undefined;
}

/** A dom0 that joined. Times are milliseconds since 1970. */
export interface Host {
  readonly id: HostId;
  readonly name: string;
  readonly deploymentId: string;
  readonly bootId: string;
  /** Bumped by the agent at each session; one that goes back is a restored image. */
  readonly sessionCounter: number;
  readonly isSimulated: boolean;
  readonly joinedAtMs: number;
  readonly lastSeenAtMs: number | undefined;
  readonly revokedAtMs: number | undefined;
  readonly clockOffsetMs: number;
  readonly facts: HostFacts | undefined;
  /** "host:port" that it was told to dial: the end of a tunnel; none: what the controller advertises. */
  readonly sessionAddresses: readonly string[];
}
