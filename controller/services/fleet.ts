import type { Logger } from 'pino';
import type { HostBridges } from '../../shared/domain/bridge.js';
import type { HostStore } from '../../shared/domain/host-store.js';
import { formatDuration } from '../../shared/domain/duration.js';
import type { Mac } from '../../shared/domain/mac.js';
import { notFound, type AppError } from '../../shared/errors.js';
import { PROTOCOL } from '../../shared/version.js';
import { isClockOff, refuseHello, welcomeHost, type Hello } from '../domain/hello.js';
import type { Host } from '../domain/host.js';
import { hostStateOf, type HostState } from '../domain/host-state.js';
import type { LeaseOwner, VmId } from '../domain/lease.js';
import type { HostId, Vm } from '../domain/vm.js';
import type { VmMetrics } from '../domain/vm-metrics.js';
import type { AgentLink } from '../ports/agent-link.js';
import type { Clock } from '../ports/environment.js';
import type { Tx } from '../ports/store.js';
import type { VmKnowledge } from '../ports/vm-knowledge.js';
import type { EventLog } from './event-log.js';
import { HostJournal } from './host-journal.js';
import { HostSession, type SessionHandle } from './host-session.js';
import type { Journal } from './journal.js';
import { ObservationRecorder } from './observation.js';
import type { OrderBook } from './order-book.js';
import { VmIndex } from './vm-index.js';

export interface FleetOptions {
  readonly journal: Journal;
  readonly events: EventLog;
  readonly orders: OrderBook;
  readonly clock: Clock;
  readonly log: Logger;
  /** Milliseconds of silence after which a host is lost; 30,000 unless told. */
  readonly lostAfterMs?: number | undefined;
  /** Milliseconds after the start in which nobody is called lost; 300,000 unless told. */
  readonly graceMs?: number | undefined;
}

/** A host and what is known of it now. */
export interface HostView {
  readonly host: Host;
  readonly state: HostState;
  /** Milliseconds since 1970. */
  readonly lastSeenAtMs: number | undefined;
  /** When its present session began. */
  readonly connectedAtMs: number | undefined;
  readonly vms: number;
  readonly vmsRunning: number;
}

/** What outlives a session, in memory only. */
interface KnownHost {
  readonly host: Host;
  lastWordAtMs: number | undefined;
  isReportedLost: boolean;
}

/**
 * The hosts and their VMs, as far as they are known.
 *
 * Invariants:
 * - A host has one session; a second one ends the first.
 * - Silence is not "stopped": only a host that is connected and has told its state can say so.
 */
export class Fleet implements VmKnowledge {
  readonly vms = new VmIndex();
  readonly lostAfterMs: number;
  private readonly options: FleetOptions;
  private readonly graceMs: number;
  private readonly startedAtMs: number;
  private readonly known = new Map<HostId, KnownHost>();
  private readonly sessions = new Map<HostId, HostSession>();
  /** As they were last told; a host tells them anew in each session. */
  private readonly bridges = new Map<HostId, HostBridges>();
  private readonly stores = new Map<HostId, readonly HostStore[]>();
  private readonly listeners = new Set<(hostId: HostId) => void>();
  private readonly observations: ObservationRecorder;
  private readonly history: HostJournal;

  /** Reads the hosts and VMs that are kept. */
  constructor(options: FleetOptions) {
    this.options = options;
    this.lostAfterMs = options.lostAfterMs ?? 30_000;
    this.graceMs = options.graceMs ?? 300_000;
    this.startedAtMs = options.clock.nowMs();
    this.observations = new ObservationRecorder({
      ...options,
      vms: this.vms,
      onChanged: (hostId) => this.tellChanged(hostId),
    });
    this.history = new HostJournal(options);
    const { hosts, vms } = options.journal.read((stores) => ({ hosts: stores.hosts.list(), vms: stores.vms.list() }));
    for (const host of hosts) this.known.set(host.id, { host, lastWordAtMs: undefined, isReportedLost: false });
    for (const vm of vms) this.vms.put(vm);
  }

  /**
   * Opens a session; one that the host had is ended with `raced`. Orders that it owes an answer are sent again.
   *
   * @throws {AppError} `wrong_state` (deployed anew, restored image, other protocol), `unauthenticated` (revoked),
   *   `not_found`
   */
  async connect(hostId: HostId, hello: Hello, link: AgentLink): Promise<SessionHandle> {
    const { journal, clock, log, orders } = this.options;
    const answer = await journal.submit((tx) => this.admit(tx, hostId, hello));
    if (answer.kind === 'refused') throw answer.error;
    const session = new HostSession({
      host: answer.host,
      link,
      clock,
      log,
      orders,
      observations: this.observations,
      isCurrent: (other) => this.sessions.get(other.hostId) === other,
      onReachable: (other) => this.tellChanged(other.hostId),
      onBridges: (other, bridges) => this.keepBridges(other.hostId, bridges),
      onStores: (other, stores) => this.keepStores(other.hostId, stores),
      onClosed: (other) => this.closed(other),
      record: (other, event, vmKey) =>
        this.history.report(other.hostName, event, vmKey === undefined ? undefined : this.vms.byKey(hostId, vmKey)?.id),
    });
    this.replaceSession(session);
    return session;
  }

  /** Ends a host's session for good: it was revoked. Its orders end without an answer. */
  cutHost(hostId: HostId, reason: string): void {
    const session = this.sessions.get(hostId);
    this.sessions.delete(hostId);
    session?.link.close('unauthenticated', reason);
    this.options.orders.drop(hostId, reason);
    // So that the host is not called lost as well.
    this.refreshKnown(hostId);
    this.tellChanged(hostId);
  }

  /** Forgets a host and its VMs, in the caller's transaction; its session ends with the commit. */
  forgetHostIn(tx: Tx, host: Host): void {
    for (const vm of this.vms.onHost(host.id)) {
      tx.vms.remove(vm.id);
      this.vms.remove(vm.id);
      tx.onUndo(() => void this.vms.put(vm));
    }
    tx.hosts.remove(host.id);
    tx.onCommitted(() => {
      this.cutHost(host.id, `host ${host.name} was removed`);
      this.known.delete(host.id);
    });
  }

  /** Ends silent sessions, tells of lost hosts, drops VMs that are gone. To be called about once a second. */
  async sweep(): Promise<void> {
    const nowMs = this.options.clock.nowMs();
    for (const session of this.sessions.values()) {
      if (nowMs - session.lastWordAtMs < this.lostAfterMs) continue;
      session.link.close('unavailable', `host ${session.hostName} was silent for ${formatDuration(this.lostAfterMs)}`);
      this.closed(session);
    }
    await Promise.all([...this.known.values()].map((known) => this.sweepHost(known, nowMs)));
    await this.observations.prune();
  }

  /** Calls `listener` after VMs of a host changed, or the host came or went. @returns stops that */
  onHostChanged(listener: (hostId: HostId) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** By name. */
  hosts(): readonly HostView[] {
    return this.options.journal.read((stores) => stores.hosts.list()).map((host) => this.viewOf(host));
  }

  /** @throws {AppError} `not_found` */
  host(name: string): HostView {
    const host = this.options.journal.read((stores) => stores.hosts.findByName(name));
    if (!host) throw notFound(`host "${name}" is unknown`, { host: name, hint: 'see domherd host list' });
    return this.viewOf(host);
  }

  hostName(hostId: HostId): string {
    return this.known.get(hostId)?.host.name ?? `host-${String(hostId)}`;
  }

  isSimulated(hostId: HostId): boolean {
    return this.known.get(hostId)?.host.isSimulated ?? false;
  }

  /** The host is connected and has told its state: what is known of its VMs is so now, and it can be told orders. */
  isReachable(hostId: HostId): boolean {
    return this.sessions.get(hostId)?.hasState === true;
  }

  /** Sessions of hosts that are reachable. */
  reachable(): readonly HostSession[] {
    return [...this.sessions.values()].filter(({ hasState }) => hasState);
  }

  /** When the host last told of this VM, milliseconds since 1970. */
  observedAtMs(vm: Vm): number {
    const session = this.sessions.get(vm.hostId);
    const heardAtMs = session?.hasState ? session.lastWordAtMs : this.known.get(vm.hostId)?.lastWordAtMs;
    return Math.max(vm.observedAtMs, heardAtMs ?? 0);
  }

  /** NAME@HOST. */
  label(vm: Vm): string {
    return `${vm.name}@${this.hostName(vm.hostId)}`;
  }

  /** As they were last told; `undefined`: not since this controller started. */
  bridgesOf(hostId: HostId): HostBridges | undefined {
    return this.bridges.get(hostId);
  }

  /** What its VMs' disks are kept in; as {@link bridgesOf}. */
  /** As it said when it was asked. */
  noteStores(hostId: HostId, stores: readonly HostStore[]): void {
    this.stores.set(hostId, stores);
  }

  storesOf(hostId: HostId): readonly HostStore[] | undefined {
    return this.stores.get(hostId);
  }

  /** `undefined`: none were told, or they are of a domain that is no more. */
  metricsOf(vm: Vm): VmMetrics | undefined {
    if (vm.state === 'stopped') return undefined;
    return this.sessions.get(vm.hostId)?.latest?.metrics.get(vm.cfgPath ?? vm.name);
  }

  isKnownStopped(vmId: VmId): boolean {
    const vm = this.vms.byId(vmId);
    // Kept while anything names it: one without a row is gone for good.
    if (!vm) return true;
    return (vm.isGone || vm.state === 'stopped') && this.isReachable(vm.hostId);
  }

  describeOwner(owner: LeaseOwner): string {
    if (owner.kind === 'name') return owner.name;
    const vm = this.vms.byId(owner.vmId);
    return `${vm ? this.label(vm) : `vm-${String(owner.vmId)}`}#${String(owner.vifIndex)}`;
  }

  /** Whether a cfg has the MAC on another vif than the owner's. */
  isMacObservedElsewhere(mac: Mac, owner: LeaseOwner): boolean {
    return this.vms
      .byMac(mac)
      .some(
        (vm) =>
          !vm.isGone &&
          vm.vifs.some(
            (vif) => vif.mac === mac && !(owner.kind === 'vif' && owner.vmId === vm.id && owner.vifIndex === vif.index),
          ),
      );
  }

  /**
   * Forgets what a VM's state is, since an order on it ended without an answer, and has its host tell everything anew.
   */
  async distrust(vm: Vm): Promise<void> {
    const session = this.sessions.get(vm.hostId);
    const observer = { hostId: vm.hostId, hostName: this.hostName(vm.hostId), isCurrent: () => true };
    const present = this.vms.byId(vm.id);
    if (!present || present.isGone) return;
    await this.observations.change(observer, [{ ...present, state: 'unknown' }], []);
    session?.link.close('unavailable', `an order on VM ${vm.name} had no answer: tell the state anew`);
    if (session) this.closed(session);
  }

  /** The row of a VM that its host is yet to make, so that something can be its own; in the caller's transaction. */
  expectIn(tx: Tx, vm: Vm): Vm {
    return this.observations.expectIn(tx, vm.hostId, vm);
  }

  /** A VM is on another host now, where it was seen as `made`: it goes on under its own id. In the caller's transaction. */
  moveIn(tx: Tx, vm: Vm, made: Vm): Vm {
    const moved: Vm = { ...made, id: vm.id };
    tx.vms.remove(made.id);
    tx.vms.move(moved);
    this.vms.remove(made.id);
    this.vms.put(moved);
    tx.onUndo(() => {
      this.vms.put(vm);
      this.vms.put(made);
    });
    tx.onCommitted(() => {
      this.tellChanged(vm.hostId);
      this.tellChanged(moved.hostId);
    });
    return moved;
  }

  /** Its host has said, by the result of an order, that it has no such VM any more. */
  async noteGone(hostId: HostId, key: string): Promise<void> {
    const observer = { hostId, hostName: this.hostName(hostId), isCurrent: () => true };
    await this.observations.change(observer, [], [key]);
  }

  private admit(tx: Tx, hostId: HostId, hello: Hello): Admission {
    const host = tx.hosts.findById(hostId);
    if (!host) throw notFound(`host ${String(hostId)} is unknown`);
    const error = refuseHello(host, hello, PROTOCOL);
    if (error) {
      this.history.refused(tx, host, error);
      return { kind: 'refused', error };
    }
    const welcomed = welcomeHost(host, hello, this.options.clock.nowMs());
    tx.hosts.update(welcomed);
    this.history.connected(tx, welcomed);
    if (isClockOff(welcomed)) this.history.clockOff(tx, welcomed);
    return { kind: 'admitted', host: welcomed };
  }

  private keepBridges(hostId: HostId, bridges: HostBridges | undefined): void {
    if (bridges) this.bridges.set(hostId, bridges);
    else this.bridges.delete(hostId);
  }

  private keepStores(hostId: HostId, stores: readonly HostStore[] | undefined): void {
    if (stores) this.stores.set(hostId, stores);
    else this.stores.delete(hostId);
  }

  private replaceSession(session: HostSession): void {
    const { hostId, host, link } = session;
    const before = this.sessions.get(hostId);
    this.sessions.set(hostId, session);
    const lastWordAtMs = before?.hasState ? before.lastWordAtMs : this.known.get(hostId)?.lastWordAtMs;
    this.known.set(hostId, { host, lastWordAtMs, isReportedLost: false });
    before?.link.close('raced', `host ${host.name} opened another session`);
    this.options.orders.attach(hostId, link);
    this.tellChanged(hostId);
  }

  private closed(session: HostSession): void {
    this.options.orders.detach(session.hostId, session.link);
    if (this.sessions.get(session.hostId) !== session) return;
    this.sessions.delete(session.hostId);
    const known = this.known.get(session.hostId);
    if (known && session.hasState) known.lastWordAtMs = session.lastWordAtMs;
    this.history.lastSeen(session.hostId, session.lastWordAtMs);
    this.tellChanged(session.hostId);
  }

  private async sweepHost(known: KnownHost, nowMs: number): Promise<void> {
    if (known.isReportedLost || this.stateOf(known.host, nowMs) !== 'lost') return;
    await this.history.lost(known.host);
    known.isReportedLost = true;
  }

  private stateOf(host: Host, nowMs: number): HostState {
    const { startedAtMs: controllerStartedAtMs, lostAfterMs, graceMs } = this;
    const session = this.sessions.get(host.id);
    const lastWordAtMs = session?.hasState ? session.lastWordAtMs : this.known.get(host.id)?.lastWordAtMs;
    const isOpening = session?.hasState === false;
    return hostStateOf(host, { lastWordAtMs, isOpening, controllerStartedAtMs, lostAfterMs, graceMs }, nowMs);
  }

  private viewOf(host: Host): HostView {
    const session = this.sessions.get(host.id);
    const present = this.vms.onHost(host.id).filter((vm) => !vm.isGone);
    const lastWordAtMs = session?.lastWordAtMs ?? this.known.get(host.id)?.lastWordAtMs;
    const memoryFreeMib = session?.latest?.memoryFreeMib;
    return {
      host: host.facts && memoryFreeMib !== undefined ? { ...host, facts: { ...host.facts, memoryFreeMib } } : host,
      state: this.stateOf(host, this.options.clock.nowMs()),
      lastSeenAtMs: lastWordAtMs ?? host.lastSeenAtMs,
      connectedAtMs: session?.openedAtMs,
      vms: present.length,
      vmsRunning: present.filter((vm) => vm.state === 'running').length,
    };
  }

  private refreshKnown(hostId: HostId): void {
    const host = this.options.journal.read((stores) => stores.hosts.findById(hostId));
    if (host) this.known.set(hostId, { host, lastWordAtMs: undefined, isReportedLost: true });
  }

  private tellChanged(hostId: HostId): void {
    for (const listener of this.listeners) listener(hostId);
  }
}

type Admission =
  { readonly kind: 'admitted'; readonly host: Host } | { readonly kind: 'refused'; readonly error: AppError };
