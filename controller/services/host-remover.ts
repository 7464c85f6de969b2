import { formatIpv4, type Ipv4 } from '../../shared/domain/ipv4.js';
import { AppError, notFound, wrongState } from '../../shared/errors.js';
import type { Caller } from '../domain/caller.js';
import type { Host } from '../domain/host.js';
import type { Vm } from '../domain/vm.js';
import type { Clock } from '../ports/environment.js';
import type { LiveCalls } from '../ports/live-calls.js';
import type { Stores, Tx } from '../ports/store.js';
import type { EventLog } from './event-log.js';
import type { Fleet } from './fleet.js';
import { answerOnce } from './idempotency.js';
import type { Journal } from './journal.js';
import type { VmHoldings } from './vm-holdings.js';

export interface HostRemoverOptions {
  readonly journal: Journal;
  readonly events: EventLog;
  readonly fleet: Fleet;
  readonly holdings: VmHoldings;
  readonly calls: LiveCalls;
  readonly clock: Clock;
}

/** What goes with a host. */
export interface HostRemoval {
  /** NAME@HOST. */
  readonly vms: readonly string[];
  readonly releasedAddresses: readonly Ipv4[];
  /** NAME@HOST of VMs that have leases and are not known to be stopped. */
  readonly runningVms: readonly string[];
}

/** Takes hosts out of the fleet: everything of one in one transaction. */
export class HostRemover {
  private readonly options: HostRemoverOptions;

  constructor(options: HostRemoverOptions) {
    this.options = options;
  }

  /** What {@link remove} would do. @throws {AppError} as it would */
  preview(name: string, force: boolean): HostRemoval {
    return this.options.journal.read((stores) => this.judge(stores, name, force).removal);
  }

  /**
   * @param force although VMs with live leases may run
   * @throws {AppError} `not_found`; `wrong_state` if such VMs may run (details `vms`)
   */
  remove(name: string, force: boolean, caller: Caller): Promise<HostRemoval> {
    const { journal, clock } = this.options;
    return journal.submit((tx) => answerOnce(tx, caller, clock.nowMs(), () => this.removeIn(tx, name, force, caller)));
  }

  private removeIn(tx: Tx, name: string, force: boolean, caller: Caller): HostRemoval {
    const { holdings, fleet, calls, clock } = this.options;
    const { host, vms, removal } = this.judge(tx, name, force);
    for (const vm of vms) holdings.releaseIn(tx, vm, caller, { force: true });
    const serials = tx.identities.revoke('agent', name, clock.nowMs());
    fleet.forgetHostIn(tx, host);
    tx.onCommitted(() =>
      calls.cut(serials, new AppError('unauthenticated', `Host ${name} was removed`, { host: name })),
    );
    this.record(tx, host, removal, caller);
    return removal;
  }

  private judge(
    stores: Stores,
    name: string,
    force: boolean,
  ): { readonly host: Host; readonly vms: readonly Vm[]; readonly removal: HostRemoval } {
    const { fleet, holdings } = this.options;
    const host = stores.hosts.findByName(name);
    if (host === undefined) throw notFound(`host "${name}" is unknown`, { host: name, hint: 'see domherd host list' });
    const vms = fleet.vms.onHost(host.id);
    const leased = vms.map((vm) => ({ vm, live: holdings.find(stores, vm).leases }));
    // A VM is not configured with a pending lease yet.
    const running = leased.filter(
      ({ vm, live }) => live.some(({ state }) => state !== 'pending') && !fleet.isKnownStopped(vm.id),
    );
    const removal: HostRemoval = {
      vms: vms.filter((vm) => !vm.isGone).map((vm) => fleet.label(vm)),
      releasedAddresses: leased.flatMap(({ live }) => live.map(({ address }) => address)),
      runningVms: running.map(({ vm }) => fleet.label(vm)),
    };
    if (removal.runningVms.length > 0 && !force) throw mayRun(name, removal.runningVms);
    return { host, vms, removal };
  }

  private record(tx: Tx, host: Host, removal: HostRemoval, caller: Caller): void {
    const { releasedAddresses, runningVms } = removal;
    const forced = runningVms.length > 0;
    const resting =
      releasedAddresses.length === 1 ? '1 address rests' : `${String(releasedAddresses.length)} addresses rest`;
    this.options.events.record(tx, {
      atMs: this.options.clock.nowMs(),
      kind: 'host.removed',
      message: `host ${host.name} was removed${forced ? ' by force' : ''}: ${resting}`,
      actor: caller.actor,
      requestId: caller.requestId,
      host: host.name,
      details: {
        addresses: releasedAddresses.map(formatIpv4).join(' '),
        ...(forced && { runningVms: runningVms.join(' ') }),
      },
    });
  }
}

function mayRun(host: string, vms: readonly string[]): Error {
  const what = vms.length === 1 ? 'a VM with a live lease' : 'VMs with live leases';
  return wrongState(`host ${host} has ${what} that may be running: ${vms.join(', ')}`, {
    vms: vms.join(' '),
    hint: `stop them: domherd vm shutdown ${vms.join(' ')}; or repeat with --force: they run on, their addresses rest`,
  });
}
