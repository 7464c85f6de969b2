import type { Ipv4 } from '../../shared/domain/ipv4.js';
import type { Mac } from '../../shared/domain/mac.js';

/** `unknown` is never to be read as stopped. */
export type VmState = 'unknown' | 'stopped' | 'starting' | 'running' | 'paused' | 'stopping' | 'crashed';

export interface ObservedVif {
  /** From 0, in the order of the cfg. */
  readonly index: number;
  /** `undefined`: the cfg has none, or one that is no MAC. */
  readonly mac: Mac | undefined;
  readonly bridge: string | undefined;
  /** In the cfg, if it has one of its own; not told to the controller. */
  readonly script?: string | undefined;
  /** In the guest's own files, where known. */
  readonly guestAddress: Ipv4 | undefined;
}

/** One domU as this host sees it. */
export interface ObservedVm {
  /** cfg path, or `domain:<uuid>` for a domain without one; unique on the host. */
  readonly key: string;
  readonly name: string;
  readonly cfgPath: string | undefined;
  readonly uuid: string | undefined;
  readonly state: VmState;
  /** 0: not known. */
  readonly memoryMib: number;
  /** 0: not known. */
  readonly vcpus: number;
  readonly vifs: readonly ObservedVif[];
  /** In the guest's own files, each as "TYPE BASE64"; `undefined` or empty: not known. */
  readonly hostKeys?: readonly string[] | undefined;
  /** The host starts it when it boots; `undefined`: not known. */
  readonly isAutostarted?: boolean | undefined;
  /** Why it cannot be managed; for people. */
  readonly problem: string | undefined;
}

/** Counters since the domain was created; rx and tx as the guest sees them. */
export interface VmMetrics {
  /** Milliseconds since 1970. */
  readonly sampledAtMs: number;
  readonly cpuSeconds: number;
  /** Of one CPU, since the last sample; `undefined`: not known yet. */
  readonly cpuPercent: number | undefined;
  /** What it has now; 0: not known. */
  readonly memoryMib: number;
  readonly rxBytes: number;
  readonly txBytes: number;
  readonly diskReadBytes: number;
  readonly diskWrittenBytes: number;
}

/** A domain as the toolstack lists it; never Domain-0. */
export interface Domain {
  readonly name: string;
  readonly uuid: string;
  readonly state: Exclude<VmState, 'stopped'>;
  readonly memoryMib: number;
  readonly vcpus: number;
}

/** The most that a domain can be given while it runs. */
export interface DomainLimits {
  readonly memoryMib: number;
  readonly vcpus: number;
}
