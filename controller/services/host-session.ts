import type { Logger } from 'pino';
import type { HostBridges } from '../../shared/domain/bridge.js';
import type { HostStore } from '../../shared/domain/host-store.js';
import type { NewEvent } from '../domain/event.js';
import type { Host } from '../domain/host.js';
import type { HostId, ObservedVm } from '../domain/vm.js';
import type { Heartbeat } from '../domain/vm-metrics.js';
import type { AgentLink, OrderOutcome, VifLease } from '../ports/agent-link.js';
import type { Clock } from '../ports/environment.js';
import type { ObservationRecorder, Observer } from './observation.js';
import type { OrderBook, OrderProgress } from './order-book.js';

/** What a host tells of itself or of one of its VMs. */
export interface HostReport {
  /** "noun.verb". */
  readonly kind: string;
  readonly message: string;
  readonly vmKey: string | undefined;
  readonly details: Readonly<Record<string, string>>;
}

/** One connected host, as the reader of its stream sees it. Messages are passed on one after the other, each awaited. */
export interface SessionHandle {
  readonly hostId: HostId;
  /** Everything that the host has. @param bridges, stores `undefined`: not known */
  fullState(vms: readonly ObservedVm[], bridges?: HostBridges, stores?: readonly HostStore[]): Promise<void>;
  change(changed: readonly ObservedVm[], goneKeys: readonly string[]): Promise<void>;
  bridges(bridges: HostBridges): void;
  /** As {@link bridges}. */
  stores(stores: readonly HostStore[]): void;
  heartbeat(heartbeat: Heartbeat): void;
  progress(orderId: string, progress: OrderProgress): void;
  /** The VM is kept as it is after the order before anybody hears of the outcome. */
  result(orderId: string, outcome: OrderOutcome): Promise<void>;
  event(report: HostReport): Promise<void>;
  /** The stream has ended. Idempotent. */
  closed(): void;
}

export interface HostSessionOptions {
  readonly host: Host;
  readonly link: AgentLink;
  readonly clock: Clock;
  readonly log: Logger;
  readonly observations: ObservationRecorder;
  readonly orders: OrderBook;
  readonly isCurrent: (session: HostSession) => boolean;
  /** Its first full state is known. */
  readonly onReachable: (session: HostSession) => void;
  readonly onBridges: (session: HostSession, bridges: HostBridges | undefined) => void;
  readonly onStores: (session: HostSession, stores: readonly HostStore[] | undefined) => void;
  readonly onClosed: (session: HostSession) => void;
  readonly record: (
    session: HostSession,
    event: Pick<NewEvent, 'kind' | 'message' | 'details'>,
    vmKey?: string,
  ) => Promise<void>;
}

export class HostSession implements SessionHandle, Observer {
  readonly hostId: HostId;
  readonly hostName: string;
  readonly host: Host;
  readonly link: AgentLink;
  /** Milliseconds since 1970. */
  readonly openedAtMs: number;
  lastWordAtMs: number;
  /** Whether the host has told everything since it connected; before that, what is known of it is old. */
  hasState = false;
  latest: Heartbeat | undefined;
  /** What it was told of its leases, as text. */
  private toldLeases: string | undefined;
  private readonly options: HostSessionOptions;

  constructor(options: HostSessionOptions) {
    this.options = options;
    this.host = options.host;
    this.hostId = options.host.id;
    this.hostName = options.host.name;
    this.link = options.link;
    this.openedAtMs = options.clock.nowMs();
    this.lastWordAtMs = this.openedAtMs;
  }

  /** The same again is not sent. */
  tellLeases(leases: readonly VifLease[]): void {
    const text = JSON.stringify(leases);
    if (text === this.toldLeases) return;
    this.toldLeases = text;
    this.link.sendLeases(leases);
  }

  isCurrent(): boolean {
    return this.options.isCurrent(this);
  }

  async fullState(vms: readonly ObservedVm[], bridges?: HostBridges, stores?: readonly HostStore[]): Promise<void> {
    this.heard();
    if (this.isCurrent()) {
      this.options.onBridges(this, bridges);
      this.options.onStores(this, stores);
    }
    await this.options.observations.fullState(this, vms);
    if (this.hasState) return;
    this.hasState = true;
    this.options.onReachable(this);
  }

  change(changed: readonly ObservedVm[], goneKeys: readonly string[]): Promise<void> {
    this.heard();
    return this.options.observations.change(this, changed, goneKeys);
  }

  bridges(bridges: HostBridges): void {
    this.heard();
    if (this.isCurrent()) this.options.onBridges(this, bridges);
  }

  stores(stores: readonly HostStore[]): void {
    this.heard();
    if (this.isCurrent()) this.options.onStores(this, stores);
  }

  heartbeat(heartbeat: Heartbeat): void {
    this.heard();
    this.latest = heartbeat;
  }

  progress(orderId: string, progress: OrderProgress): void {
    this.heard();
    this.options.orders.progress(this.hostId, orderId, progress);
  }

  async result(orderId: string, outcome: OrderOutcome): Promise<void> {
    this.heard();
    if (outcome.vm) await this.options.observations.change(this, [outcome.vm], []);
    // What was told here was not kept; the host answers again in the session that took over.
    if (!this.isCurrent()) return;
    const isAwaited = this.options.orders.finish(this.hostId, orderId, outcome);
    if (!isAwaited) this.options.log.debug({ host: this.hostName, orderId }, 'late order result');
  }

  event(report: HostReport): Promise<void> {
    this.heard();
    const { kind, message, details } = report;
    return this.options.record(this, { kind, message, details }, report.vmKey);
  }

  closed(): void {
    this.options.onClosed(this);
  }

  private heard(): void {
    this.lastWordAtMs = this.options.clock.nowMs();
  }
}
