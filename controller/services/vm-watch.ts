import type { VmId } from '../domain/lease.js';
import type { HostId, Vm } from '../domain/vm.js';
import type { Timers } from '../ports/timer.js';
import type { Fleet } from './fleet.js';

export type WatchOutcome = 'met' | 'gone' | 'timeout' | 'cancelled';

interface Waiter {
  readonly vmId: VmId;
  readonly isMet: (vm: Vm) => boolean;
  readonly settle: (outcome: WatchOutcome) => void;
}

/** Waits for VMs to become something, without asking again and again. */
export class VmWatch {
  private readonly fleet: Fleet;
  private readonly timers: Timers;
  private readonly waiters = new Map<HostId, Set<Waiter>>();

  constructor(options: { readonly fleet: Fleet; readonly timers: Timers }) {
    this.fleet = options.fleet;
    this.timers = options.timers;
    this.fleet.onHostChanged((hostId) => {
      for (const waiter of this.waiters.get(hostId) ?? []) this.check(waiter);
    });
  }

  /** @param timeoutMs milliseconds, 1 to 86,400,000 */
  until(vm: Vm, isMet: (vm: Vm) => boolean, timeoutMs: number, signal: AbortSignal): Promise<WatchOutcome> {
    return new Promise((resolve) => {
      const group = this.groupOf(vm.hostId);
      const cancel = (): void => waiter.settle('cancelled');
      const forgetTimer = this.timers.after(timeoutMs, () => waiter.settle('timeout'));
      const waiter: Waiter = {
        vmId: vm.id,
        isMet,
        settle: (outcome) => {
          forgetTimer();
          signal.removeEventListener('abort', cancel);
          group.delete(waiter);
          resolve(outcome);
        },
      };
      group.add(waiter);
      signal.addEventListener('abort', cancel, { once: true });
      if (signal.aborted) cancel();
      else this.check(waiter);
    });
  }

  /** What was last seen of a host that is silent now meets nothing. */
  private check(waiter: Waiter): void {
    const vm = this.fleet.vms.byId(waiter.vmId);
    if (!vm || vm.isGone) waiter.settle('gone');
    else if (this.fleet.isReachable(vm.hostId) && waiter.isMet(vm)) waiter.settle('met');
  }

  private groupOf(hostId: HostId): Set<Waiter> {
    const known = this.waiters.get(hostId);
    if (known) return known;
    const fresh = new Set<Waiter>();
    this.waiters.set(hostId, fresh);
    return fresh;
  }
}
