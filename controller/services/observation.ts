import { ownerKey, type VmId } from '../domain/lease.js';
import {
  diffChange,
  diffFullState,
  GONE_NEWS,
  isEmptyDiff,
  newsOf,
  type ObservationDiff,
  type VmNews,
} from '../domain/observation.js';
import { NOT_MADE, type HostId, type ObservedVm, type Vm } from '../domain/vm.js';
import type { Clock } from '../ports/environment.js';
import type { Tx } from '../ports/store.js';
import type { EventLog } from './event-log.js';
import type { Journal } from './journal.js';
import type { VmIndex } from './vm-index.js';
import { liveRenames, type Rename } from './vm-rename.js';

/** Whose words they are. */
export interface Observer {
  readonly hostId: HostId;
  readonly hostName: string;
  /** False once another session of the host has taken over: then nothing of this one is written any more. */
  isCurrent(): boolean;
}

export interface ObservationOptions {
  readonly journal: Journal;
  readonly events: EventLog;
  readonly clock: Clock;
  readonly vms: VmIndex;
  /** After a commit that changed VMs of this host. */
  readonly onChanged: (hostId: HostId) => void;
}

/**
 * What hosts tell of their VMs, kept.
 *
 * Invariants:
 * - Only what differs is written: 1,000 hosts that reconnect with what is known write no VM.
 * - The index changes with the transaction and goes back with it, so a later job of the same batch sees the earlier one's.
 */
export class ObservationRecorder {
  private readonly options: ObservationOptions;

  constructor(options: ObservationOptions) {
    this.options = options;
  }

  /** Everything that the host has: what it does not name is gone. */
  fullState(observer: Observer, reported: readonly ObservedVm[]): Promise<void> {
    const { vms } = this.options;
    return this.apply(observer, () => diffFullState(vms.onHost(observer.hostId), reported));
  }

  change(observer: Observer, changed: readonly ObservedVm[], goneKeys: readonly string[]): Promise<void> {
    const { vms } = this.options;
    return this.apply(observer, () => diffChange((key) => vms.byKey(observer.hostId, key), changed, goneKeys));
  }

  /** A VM that its host is to make. Until that tells of it, it is gone; then it goes on under the same id. */
  expectIn(tx: Tx, hostId: HostId, expected: ObservedVm): Vm {
    const { vms, clock } = this.options;
    const known = vms.byKey(hostId, expected.key);
    if (known) return known;
    const vm = { ...tx.vms.observe(hostId, { ...expected, problem: NOT_MADE }, clock.nowMs()), isGone: true };
    tx.vms.markGone(vm.id);
    this.put(tx, vm);
    return vm;
  }

  /** Drops VMs that are gone and that no lease or MAC claim names any more. */
  async prune(): Promise<void> {
    const gone = [...this.options.vms.all()].filter((vm) => vm.isGone);
    if (gone.length === 0) return;
    const unnamed = this.options.journal.read((stores) => gone.filter((vm) => !isNamed(stores, vm)));
    if (unnamed.length === 0) return;
    await this.options.journal.submit((tx) => {
      for (const vm of unnamed) if (this.options.vms.byId(vm.id)?.isGone && !isNamed(tx, vm)) this.forget(tx, vm.id);
    });
  }

  private async apply(observer: Observer, diff: () => ObservationDiff): Promise<void> {
    if (isEmptyDiff(diff())) return;
    await this.options.journal.submit((tx) => {
      if (observer.isCurrent()) this.write(tx, observer, diff());
    });
  }

  private write(tx: Tx, observer: Observer, diff: ObservationDiff): void {
    const renames = this.renamesOf(tx, observer, diff);
    for (const rename of renames) if (diff.changed.some(({ key }) => key === rename.key)) this.follow(tx, rename);
    for (const vm of diff.changed) this.observe(tx, observer, vm);
    // Of one that is being renamed its new file is told of next.
    const gone = diff.gone.filter(({ key }) => !renames.some(({ formerKey }) => formerKey === key));
    for (const vm of gone) this.markGone(tx, observer, vm);
    tx.onCommitted(() => this.options.onChanged(observer.hostId));
  }

  private renamesOf(tx: Tx, { hostId }: Observer, { changed, gone }: ObservationDiff): readonly Rename[] {
    const isNew = changed.some(({ key }) => this.options.vms.byKey(hostId, key)?.isGone !== false);
    if (!isNew && gone.length === 0) return [];
    return liveRenames(tx.jobs).filter((rename) => rename.hostId === hostId);
  }

  /** Its file has its new name: the row goes on there, with all that the VM has. */
  private follow(tx: Tx, { vmId, hostId, formerKey, key }: Rename): void {
    const { vms } = this.options;
    const vm = vms.byId(vmId);
    if (vm?.key !== formerKey || key === formerKey) return;
    // A VM of that path that is gone.
    const there = vms.byKey(hostId, key);
    if (there) this.forget(tx, there.id);
    const moved = { ...vm, key, cfgPath: key };
    tx.vms.move(moved);
    this.put(tx, moved);
  }

  private observe(tx: Tx, observer: Observer, observed: ObservedVm): void {
    const { clock, vms } = this.options;
    const before = vms.byKey(observer.hostId, observed.key);
    const vm = tx.vms.observe(observer.hostId, observed, clock.nowMs());
    this.put(tx, vm);
    for (const news of newsOf(before, observed)) this.tell(tx, observer, vm, news);
  }

  private markGone(tx: Tx, observer: Observer, vm: Vm): void {
    this.tell(tx, observer, vm, GONE_NEWS);
    if (!isNamed(tx, vm)) return this.forget(tx, vm.id);
    tx.vms.markGone(vm.id);
    this.put(tx, { ...vm, isGone: true });
  }

  private put(tx: Tx, vm: Vm): void {
    const { vms } = this.options;
    const before = vms.put(vm);
    tx.onUndo(() => void (before ? vms.put(before) : vms.remove(vm.id)));
  }

  private forget(tx: Tx, id: VmId): void {
    const { vms } = this.options;
    tx.vms.remove(id);
    const before = vms.remove(id);
    tx.onUndo(() => void (before && vms.put(before)));
  }

  private tell(tx: Tx, observer: Observer, vm: Vm, news: VmNews): void {
    this.options.events.record(tx, {
      atMs: this.options.clock.nowMs(),
      kind: news.kind,
      message: `VM ${vm.name}@${observer.hostName} ${news.predicate}`,
      actor: `agent:${observer.hostName}`,
      host: observer.hostName,
      vmId: vm.id,
      details: news.details,
    });
  }
}

function isNamed(stores: Pick<Tx, 'leases' | 'macs'>, vm: Vm): boolean {
  if (stores.leases.listByVm(vm.id).length > 0) return true;
  return vm.vifs.some(
    (vif) => stores.macs.findClaim(ownerKey({ kind: 'vif', vmId: vm.id, vifIndex: vif.index })) !== undefined,
  );
}
