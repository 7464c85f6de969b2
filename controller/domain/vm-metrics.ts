/** Latest counters of a running VM, in the guest's view of rx and tx. */
export interface VmMetrics {
  /** Milliseconds since 1970. */
  readonly sampledAtMs: number | undefined;
  readonly cpuSeconds: number;
  /** Of one CPU; `undefined`: not known yet. */
  readonly cpuPercent?: number | undefined;
  /** What the VM has now; 0: not known. */
  readonly memoryMib: number;
  readonly rxBytes: bigint;
  readonly txBytes: bigint;
  readonly diskReadBytes: bigint;
  readonly diskWrittenBytes: bigint;
}

export interface Heartbeat {
  readonly memoryFreeMib: number;
  /** By cfg path, or by name where there is none; only of running VMs. */
  readonly metrics: ReadonlyMap<string, VmMetrics>;
}
