import type { HostBridges } from '../../shared/domain/bridge.js';
import type { HostStore } from '../../shared/domain/host-store.js';
import type { HostEvent } from './host-event.js';
import type { VifLease } from './lease-record.js';
import type { Order, OrderProgress, OrderResult } from './order.js';
import type { ObservedVm, VmMetrics } from './vm.js';

export interface HostFacts {
  readonly agentVersion: string;
  readonly nodeVersion: string;
  readonly kernel: string;
  /** Empty on a simulated host. */
  readonly xenVersion: string;
  readonly cpus: number;
  readonly memoryMib: number;
  readonly memoryFreeMib: number;
  /** New at each boot of the host. */
  readonly bootId: string;
  /** Where the cfg files are, absolute. */
  readonly cfgFolder?: string | undefined;
}

export interface Hello {
  readonly facts: HostFacts;
  readonly deploymentId: string;
  /** Bumped on disk before it is sent; 1 up. */
  readonly sessionCounter: number;
  readonly isSimulated: boolean;
  /** Milliseconds since 1970. */
  readonly nowMs: number;
}

export interface Welcome {
  /** 100 to 60,000. */
  readonly heartbeatMs: number;
  readonly controllerVersion: string;
  /** The controller's clock, milliseconds since 1970. */
  readonly nowMs: number;
}

/** What changed since the last message of state. */
export interface StateChange {
  readonly changed: readonly ObservedVm[];
  /** Keys. */
  readonly gone: readonly string[];
  /** All of them, if anything of them changed. */
  readonly bridges?: HostBridges | undefined;
  /** As the bridges. */
  readonly stores?: readonly HostStore[] | undefined;
}

export interface Heartbeat {
  readonly memoryFreeMib: number;
  /** By cfg path, or domain name where there is none; running VMs only. */
  readonly metrics: ReadonlyMap<string, VmMetrics>;
}

/** Everything there is. */
export interface FullState {
  readonly kind: 'fullState';
  readonly vms: readonly ObservedVm[];
  /** `undefined`: they could not be read. */
  readonly bridges: HostBridges | undefined;
  /** As the bridges. */
  readonly stores?: readonly HostStore[] | undefined;
}

export type UpMessage =
  | FullState
  | { readonly kind: 'change'; readonly change: StateChange }
  /** What happened, for the history. */
  | { readonly kind: 'event'; readonly event: HostEvent }
  | { readonly kind: 'progress'; readonly progress: OrderProgress }
  | { readonly kind: 'result'; readonly result: OrderResult }
  | { readonly kind: 'heartbeat'; readonly heartbeat: Heartbeat };

export type DownMessage =
  | { readonly kind: 'order'; readonly order: Order }
  | { readonly kind: 'cancel'; readonly orderId: string }
  /** All that vifs of this host have leased. */
  | { readonly kind: 'leases'; readonly leases: readonly VifLease[] }
  /** An order that makes no sense; it is answered, not run. */
  | { readonly kind: 'malformed'; readonly result: OrderResult };
