// Invariants:
// - A session begins with the full state; after it go only changes, each against what was sent before.
// - #sentVms is what the controller knows: whatever tells it of a VM is noted there, so that the next change mends it.
// - One message is on its way at a time per kind: a slow network makes changes fewer and heartbeats rarer, not queues longer.
import type { Logger } from 'pino';
import { messageOf, toAppError } from '../../shared/errors.js';
import type { HostBridges } from '../../shared/domain/bridge.js';
import type { HostStore } from '../../shared/domain/host-store.js';
import type { OrderProgress, OrderResult } from '../domain/order.js';
import { diffState, withBridges, withStores } from '../domain/state-diff.js';
import type { DownMessage } from '../domain/session-message.js';
import type { ObservedVm, VmMetrics } from '../domain/vm.js';
import type { Bridges } from '../ports/bridges.js';
import type { Clock } from '../ports/clock.js';
import type { SessionChannel } from '../ports/controller-link.js';
import type { HostReport } from '../ports/host-report.js';
import type { DomainSample, Toolstack } from '../ports/toolstack.js';
import type { BacklogNews } from './backlog-news.js';
import type { LeaseMemory } from './lease-memory.js';
import type { Observer } from './observe.js';
import type { OrderRunner } from './order-runner.js';
import type { ResultOutbox } from './result-outbox.js';
import { sleep } from './sleep.js';
import type { StoreWatch } from './store-watch.js';

/** Changes within this time go as one message. */
export const COALESCE_MS = 100;
/** Files on disks tell nobody that they changed: look at everything this often all the same. */
export const RESYNC_MS = 60_000;

export interface SessionParts {
  readonly clock: Clock;
  readonly observer: Observer;
  readonly toolstack: Toolstack;
  readonly bridges: Bridges;
  readonly storeWatch: StoreWatch;
  readonly hostReport: HostReport;
  readonly orders: Pick<OrderRunner, 'submit' | 'cancel'>;
  readonly outbox: ResultOutbox;
  readonly news: BacklogNews;
  readonly leaseMemory: LeaseMemory;
  readonly log: Logger;
}

/** One session, from welcome to its end. */
export class Session {
  readonly #channel: SessionChannel;
  readonly #parts: SessionParts;
  #sentVms: readonly ObservedVm[] = [];
  /** By key, what results told since the last observation began: that may have seen the VM before. */
  readonly #toldSince = new Map<string, ObservedVm>();
  #sentBridges: HostBridges | undefined;
  #sentStores: readonly HostStore[] | undefined;
  #observedAtMs = 0;
  #wake: (() => void) | undefined;
  #isDirty = false;

  constructor(channel: SessionChannel, parts: SessionParts) {
    this.#channel = channel;
    this.#parts = parts;
  }

  /** Until the controller, the network or the signal ends it. @throws {AppError} what ended it */
  async run(signal: AbortSignal): Promise<void> {
    const end = new AbortController();
    const stop = (): void => end.abort();
    signal.addEventListener('abort', stop, { once: true });
    // A channel that is closed ends the loop that reads from it.
    end.signal.addEventListener('abort', () => this.#channel.close(), { once: true });
    if (signal.aborted) stop();
    try {
      await this.#sendFullState();
      const loops = [this.#receive(), this.#sendChanges(end.signal), this.#beat(end.signal)];
      await Promise.race(loops).finally(() => {
        end.abort();
        return Promise.allSettled(loops);
      });
    } finally {
      end.abort();
      signal.removeEventListener('abort', stop);
    }
  }

  /** Something on this host may be different now. */
  stateChanged(): void {
    this.#isDirty = true;
    this.#wake?.();
  }

  /** Progress is lost with its session. */
  sendProgress(progress: OrderProgress): void {
    this.#channel.send({ kind: 'progress', progress }).catch(() => undefined);
  }

  /** A result stays in the outbox until it arrived. */
  sendResult(result: OrderResult): void {
    const { vm } = result;
    if (vm !== undefined) {
      this.#toldSince.set(vm.key, vm);
      this.#sentVms = this.#newest(this.#sentVms);
    }
    this.#post(result, vm);
  }

  /** The VM lived on since the order ended: as it was then it would take back what the controller was told later. */
  sendAgain(result: OrderResult): void {
    const vm = this.#sentVms.find(({ key }) => key === result.vm?.key);
    this.#post(result, vm, true);
  }

  #post(result: OrderResult, vm: ObservedVm | undefined, isAgain = false): void {
    const { clock, outbox } = this.#parts;
    this.#channel.send({ kind: 'result', result: { ...result, vm, isAgain } }).then(
      () => outbox.markSent(result, clock.nowMs()),
      () => undefined,
    );
  }

  async #sendFullState(): Promise<void> {
    const observed = await this.#observe();
    this.#sentBridges = await this.#readBridges();
    this.#parts.storeWatch.markStale();
    this.#sentStores = await this.#parts.storeWatch.read();
    this.#sentVms = this.#newest(observed);
    const [vms, bridges, stores] = [this.#sentVms, this.#sentBridges, this.#sentStores];
    await this.#channel.send({ kind: 'fullState', vms, bridges, stores });
    for (const result of this.#parts.outbox.reopen()) this.sendAgain(result);
    await this.#parts.news.tell(this.#channel);
  }

  async #receive(): Promise<void> {
    for await (const message of this.#channel.messages) this.#obey(message);
  }

  #obey(message: DownMessage): void {
    switch (message.kind) {
      case 'order':
        return this.#parts.orders.submit(message.order);
      case 'cancel':
        return this.#parts.orders.cancel(message.orderId);
      case 'leases':
        return void this.#parts.leaseMemory.replace(message.leases);
      case 'malformed':
        return this.sendResult(message.result);
    }
  }

  async #sendChanges(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.#dirty(signal);
      if (!(await sleep(this.#parts.clock, COALESCE_MS, signal))) return;
      this.#isDirty = false;
      const observed = await this.#observe();
      const bridges = await this.#readBridges();
      const stores = await this.#parts.storeWatch.read();
      const vms = this.#newest(observed);
      const withoutStores = withBridges(diffState(this.#sentVms, vms), this.#sentBridges, bridges);
      const change = withStores(withoutStores, this.#sentStores, stores);
      if (change === undefined) continue;
      // Before: what results tell while it is sent comes on top.
      this.#sentVms = vms;
      this.#sentBridges = bridges ?? this.#sentBridges;
      this.#sentStores = stores ?? this.#sentStores;
      await this.#channel.send({ kind: 'change', change });
    }
  }

  #dirty(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = () => {
        this.#wake = undefined;
        signal.removeEventListener('abort', resolveNow);
        resolve();
      };
      const resolveNow = this.#wake;
      signal.addEventListener('abort', resolveNow, { once: true });
      if (this.#isDirty || signal.aborted) resolveNow();
    });
  }

  async #beat(signal: AbortSignal): Promise<void> {
    const { clock, outbox, news, hostReport } = this.#parts;
    while (!signal.aborted) {
      const [memoryFreeMib, metrics] = await Promise.all([hostReport.readMemoryFreeMib(), this.#sample()]);
      await this.#channel.send({ kind: 'heartbeat', heartbeat: { memoryFreeMib, metrics } });
      outbox.settle(clock.nowMs());
      await news.settle();
      if (clock.nowMs() - this.#observedAtMs >= RESYNC_MS) this.stateChanged();
      await sleep(clock, this.#channel.welcome.heartbeatMs, signal);
    }
  }

  async #sample(): Promise<ReadonlyMap<string, VmMetrics>> {
    const running = this.#sentVms.filter((vm) => vm.state === 'running');
    const keys = new Map(running.map((vm) => [vm.name, vm.cfgPath ?? vm.name]));
    const samples = running.length === 0 ? [] : await this.#readCounters();
    return new Map(
      samples.flatMap(({ name, metrics }) => {
        const key = keys.get(name);
        return key === undefined ? [] : [[key, metrics] as const];
      }),
    );
  }

  /** A toolstack that does not answer ends no session: its VMs are told as unknown, at the next look. */
  async #readCounters(): Promise<readonly DomainSample[]> {
    try {
      return await this.#parts.toolstack.sample();
    } catch (error) {
      if (toAppError(error).code !== 'unavailable') throw error;
      this.stateChanged();
      return [];
    }
  }

  /** Not to be read is not to be known: no reason to tell nothing of the VMs. */
  #readBridges(): Promise<HostBridges | undefined> {
    return this.#parts.bridges.readBridges().catch((error: unknown) => {
      this.#parts.log.warn({ reason: messageOf(error) }, 'bridges not read');
      return undefined;
    });
  }

  async #observe(): Promise<readonly ObservedVm[]> {
    this.#observedAtMs = this.#parts.clock.nowMs();
    this.#toldSince.clear();
    return this.#parts.observer.observe();
  }

  /** Whoever was told of a result looks again after it: what this keeps back is not lost. */
  #newest(vms: readonly ObservedVm[]): readonly ObservedVm[] {
    return [...vms.filter(({ key }) => !this.#toldSince.has(key)), ...this.#toldSince.values()];
  }
}
