import type { ErrorCode } from '../../shared/errors.js';
import type { HostId } from '../domain/vm.js';
import type { AgentLink, Order, OrderOutcome } from '../ports/agent-link.js';
import type { RandomSource } from '../ports/environment.js';
import type { Timers } from '../ports/timer.js';

export type OrderRequest = Omit<Order, 'orderId'>;

export interface OrderProgress {
  readonly message: string;
  /** 0 to 100. */
  readonly percent: number | undefined;
}

export interface OrderOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: OrderProgress) => void) | undefined;
  /** Milliseconds that it may wait for its turn, then it is `unsent`; without end unless told. */
  readonly turnWithinMs?: number | undefined;
  /** That it had before the controller was restarted; a fresh one unless told. */
  readonly orderId?: string | undefined;
  /** Nobody takes it back once it is sent. */
  readonly isFinal?: boolean | undefined;
}

/** `unsent`: the agent never saw it. `unknown`: it may have run, run in part, or be running still. */
export type OrderAnswer =
  OrderOutcome | { readonly kind: 'unsent' | 'unknown'; readonly code: ErrorCode; readonly message: string };

export interface OrderBookOptions {
  readonly timers: Timers;
  readonly random: RandomSource;
  /** Milliseconds that an answer may come after the agent's own limit; 10,000 unless told. */
  readonly marginMs?: number | undefined;
  /** Milliseconds that a cancelled order may take to answer; 10,000 unless told. */
  readonly cancelGraceMs?: number | undefined;
}

/** Orders at one host at one time; the rest waits for its turn. */
export const MAX_IN_FLIGHT = 64;

interface Entry {
  readonly order: Order;
  readonly options: OrderOptions;
  readonly settle: (answer: OrderAnswer) => void;
  isSent: boolean;
  /** Sent again: an answer that was known before may be to this very order. */
  isResent: boolean;
  isCancelled: boolean;
  forgetTimer: () => void;
}

interface HostQueue {
  link: AgentLink | undefined;
  readonly waiting: Entry[];
  readonly active: Map<string, Entry>;
}

/**
 * Orders on their way.
 *
 * Invariants:
 * - An order keeps its id until it is answered: a host that reconnects gets the same one again, and runs it once.
 * - Every order ends: with the agent's answer, or at the agent's limit and a margin after its turn came.
 */
export class OrderBook {
  private readonly timers: Timers;
  private readonly random: RandomSource;
  private readonly marginMs: number;
  private readonly cancelGraceMs: number;
  private readonly queues = new Map<HostId, HostQueue>();
  private isLeft = false;

  constructor(options: OrderBookOptions) {
    this.timers = options.timers;
    this.random = options.random;
    this.marginMs = options.marginMs ?? 10_000;
    this.cancelGraceMs = options.cancelGraceMs ?? 10_000;
  }

  /** For an order that is kept before it is sent. */
  newOrderId(): string {
    return Buffer.from(this.random.bytes(16)).toString('hex');
  }

  /** Has a host do something. Never rejects: an order that fails is an answer. */
  run(hostId: HostId, request: OrderRequest, options: OrderOptions = {}): Promise<OrderAnswer> {
    return new Promise((resolve) => {
      const { signal } = options;
      const cancel = (): void => this.cancel(hostId, entry);
      const entry: Entry = {
        order: { ...request, orderId: options.orderId ?? this.newOrderId() },
        options,
        settle: (answer) => {
          signal?.removeEventListener('abort', cancel);
          resolve(answer);
        },
        isSent: false,
        isResent: false,
        isCancelled: false,
        forgetTimer: () => undefined,
      };
      if (signal?.aborted) return entry.settle(cancelled());
      signal?.addEventListener('abort', cancel, { once: true });
      const queue = this.queueOf(hostId);
      queue.waiting.push(entry);
      this.limitWait(hostId, entry);
      this.pump(hostId, queue);
    });
  }

  /** A host has connected: what it was told before and has not answered is told again. */
  attach(hostId: HostId, link: AgentLink): void {
    const queue = this.queueOf(hostId);
    queue.link = link;
    for (const entry of queue.active.values()) {
      entry.isResent = entry.isSent;
      if (!entry.isCancelled) send(link, entry);
    }
    this.pump(hostId, queue);
  }

  /** The link is down; its orders wait for the next one. */
  detach(hostId: HostId, link: AgentLink): void {
    const queue = this.queueOf(hostId);
    if (queue.link === link) queue.link = undefined;
  }

  /** The host will not come back: all of its orders end. */
  drop(hostId: HostId, reason: string): void {
    const queue = this.queueOf(hostId);
    this.queues.delete(hostId);
    for (const entry of [...queue.active.values(), ...queue.waiting]) {
      entry.forgetTimer();
      entry.settle(givenUp(entry, 'unavailable', reason));
    }
  }

  /** The controller ends: what hosts were told they do all the same, whoever asked for it goes. */
  leave(): void {
    this.isLeft = true;
  }

  progress(hostId: HostId, orderId: string, progress: OrderProgress): void {
    this.queues.get(hostId)?.active.get(orderId)?.options.onProgress?.(progress);
  }

  /** @returns whether anybody waited for it: an answer may come twice, or too late */
  finish(hostId: HostId, orderId: string, outcome: OrderOutcome): boolean {
    const entry = this.queues.get(hostId)?.active.get(orderId);
    if (entry) this.end(hostId, entry, entry.isResent ? { ...outcome, isAgain: false } : outcome);
    return entry !== undefined;
  }

  private pump(hostId: HostId, queue: HostQueue): void {
    while (queue.active.size < MAX_IN_FLIGHT) {
      const entry = queue.waiting.shift();
      if (!entry) return;
      queue.active.set(entry.order.orderId, entry);
      entry.forgetTimer();
      entry.forgetTimer = this.timers.after(entry.order.timeoutMs + this.marginMs, () => this.expire(hostId, entry));
      if (queue.link) send(queue.link, entry);
    }
  }

  private limitWait(hostId: HostId, entry: Entry): void {
    const { turnWithinMs } = entry.options;
    if (turnWithinMs === undefined) return;
    const message = `host was busy with other orders for ${Math.round(turnWithinMs / 1000)} s`;
    entry.forgetTimer = this.timers.after(turnWithinMs, () => {
      const { waiting } = this.queueOf(hostId);
      waiting.splice(waiting.indexOf(entry), 1);
      this.end(hostId, entry, givenUp(entry, 'unavailable', message));
    });
  }

  private expire(hostId: HostId, entry: Entry): void {
    if (entry.isSent) this.queueOf(hostId).link?.cancelOrder(entry.order.orderId);
    const seconds = Math.round((entry.order.timeoutMs + this.marginMs) / 1000);
    const reason = entry.isSent ? `host did not answer within ${seconds} s` : `host did not connect for ${seconds} s`;
    this.end(hostId, entry, givenUp(entry, entry.isSent ? 'timeout' : 'unavailable', reason));
  }

  private cancel(hostId: HostId, entry: Entry): void {
    const queue = this.queueOf(hostId);
    const at = queue.waiting.indexOf(entry);
    if (at >= 0) queue.waiting.splice(at, 1);
    if (!entry.isSent) return this.end(hostId, entry, cancelled());
    if (entry.options.isFinal === true || this.isLeft) return;
    entry.isCancelled = true;
    queue.link?.cancelOrder(entry.order.orderId);
    entry.forgetTimer();
    // The agent may be past the point of no return: only its answer tells.
    const giveUp = (): void => this.end(hostId, entry, givenUp(entry, 'unavailable', 'host did not answer the cancel'));
    entry.forgetTimer = this.timers.after(this.cancelGraceMs, giveUp);
  }

  private end(hostId: HostId, entry: Entry, answer: OrderAnswer): void {
    const queue = this.queueOf(hostId);
    queue.active.delete(entry.order.orderId);
    entry.forgetTimer();
    entry.settle(answer);
    this.pump(hostId, queue);
  }

  private queueOf(hostId: HostId): HostQueue {
    const known = this.queues.get(hostId);
    if (known) return known;
    const fresh: HostQueue = { link: undefined, waiting: [], active: new Map() };
    this.queues.set(hostId, fresh);
    return fresh;
  }
}

function send(link: AgentLink, entry: Entry): void {
  entry.isSent = true;
  link.sendOrder(entry.order);
}

function givenUp(entry: Entry, code: ErrorCode, message: string): OrderAnswer {
  return { kind: entry.isSent ? 'unknown' : 'unsent', code, message };
}

function cancelled(): OrderAnswer {
  return { kind: 'unsent', code: 'unavailable', message: 'the request was cancelled before its turn' };
}
