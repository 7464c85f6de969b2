import type { Logger } from 'pino';
import { CONTROLLER } from '../domain/caller.js';
import { nextState } from '../domain/lease-transition.js';
import type { Lease, LeaseState } from '../domain/lease.js';
import { phaseOf, type Reservation } from '../domain/reservation.js';
import type { Clock } from '../ports/environment.js';
import type { Stores, Tx } from '../ports/store.js';
import type { VmKnowledge } from '../ports/vm-knowledge.js';
import { ANSWER_KEPT_MS } from './idempotency.js';
import type { Journal } from './journal.js';
import type { LeaseService } from './lease-service.js';
import type { PoolIndex } from './pool-index.js';

export interface LeaseSweeperOptions {
  readonly journal: Journal;
  readonly pools: PoolIndex;
  readonly leases: LeaseService;
  readonly clock: Clock;
  readonly knowledge: VmKnowledge;
  /** Time between sweeps, milliseconds; 1,000 unless told. */
  readonly intervalMs?: number | undefined;
  readonly log: Logger;
}

export interface SweepResult {
  readonly freed: number;
  readonly expired: number;
}

/** Rows handled in one transaction: the requests of others wait for so long only. */
const SLICE = 200;
const DAY_MS = 24 * 3_600_000;
const PRUNE_EVERY_MS = 60_000;
/** A lost reply of a join may be asked for again so long after its token ended. */
const TOKENS_KEPT_MS = DAY_MS;
/** An agent may renew its certificate up to 14 days after the end: it must still be known as revoked or not. */
const IDENTITIES_KEPT_MS = 30 * DAY_MS;
const EVENTS_KEPT_MS = 30 * DAY_MS;

/** Frees what nobody will come back for, ends what its reservation ends, and drops old records. */
export class LeaseSweeper {
  private readonly journal: Journal;
  private readonly pools: PoolIndex;
  private readonly leases: LeaseService;
  private readonly clock: Clock;
  private readonly knowledge: VmKnowledge;
  private readonly intervalMs: number;
  private readonly log: Logger;
  private timer: NodeJS.Timeout | undefined;
  private running: Promise<unknown> | undefined;
  private prunedAtMs: number | undefined;

  constructor({ journal, pools, leases, clock, knowledge, intervalMs, log }: LeaseSweeperOptions) {
    this.journal = journal;
    this.pools = pools;
    this.leases = leases;
    this.clock = clock;
    this.knowledge = knowledge;
    this.intervalMs = intervalMs ?? 1_000;
    this.log = log;
  }

  start(): void {
    this.timer ??= setInterval(() => this.tick(), this.intervalMs).unref();
  }

  /** Resolves when the sweep that runs has ended. */
  async stop(): Promise<void> {
    clearInterval(this.timer);
    this.timer = undefined;
    await this.running;
  }

  /** One whole round, in many small transactions. */
  async sweep(nowMs: number): Promise<SweepResult> {
    const due = await this.slices((stores) => stores.leases.listDue(nowMs, SLICE), freeDue);
    const over = await this.slices((stores) => stores.leases.listOverdue(nowMs, SLICE), endOne);
    let freed = due.freed + over.freed;
    for (const { reservation } of this.pools.list()) {
      if (phaseOf(reservation, nowMs) === 'over') freed += await this.sweepOver(reservation);
    }
    await this.prune(nowMs);
    return { freed, expired: over.expired };
  }

  private tick(): void {
    if (this.running !== undefined) return;
    this.running = this.sweep(this.clock.nowMs())
      .catch((error: unknown) => this.log.warn({ err: error }, 'sweep failed'))
      .finally(() => (this.running = undefined));
  }

  /** What `list` finds is handled until it finds no more. It must shrink by that. */
  private async slices(list: (stores: Stores) => readonly Lease[], handle: Handle): Promise<SweepResult> {
    const total = { freed: 0, expired: 0 };
    for (;;) {
      // A look without a transaction: most sweeps find nothing.
      if (this.journal.read(list).length === 0) return total;
      const part = await this.journal.submit((tx) => this.handleAll(tx, list(tx), handle));
      total.freed += part.freed;
      total.expired += part.expired;
    }
  }

  private handleAll(tx: Tx, leases: readonly Lease[], handle: Handle): SweepResult {
    const outcomes = leases.map((lease) => handle(tx, lease, this.leases));
    const count = (kind: string): number => outcomes.filter((outcome) => outcome === kind).length;
    return { freed: count('freed'), expired: count('expired') };
  }

  /** Leases that outlived their reservation: declined ones, and expired ones whose VM has stopped meanwhile. */
  private async sweepOver({ id }: Reservation): Promise<number> {
    const states: readonly LeaseState[] = ['expired', 'declined'];
    let freed = 0;
    let after: Lease['address'] | undefined;
    for (;;) {
      const from = after;
      const page = this.journal.read((stores) => stores.leases.list({ reservationId: id, states }, from, SLICE));
      const done = page.filter((lease) => this.isDone(lease));
      if (done.length > 0) {
        freed += await this.journal.submit((tx) => this.freeDone(tx, done));
      }
      if (page.length < SLICE) return freed;
      after = page.at(-1)?.address;
    }
  }

  private isDone({ state, owner }: Lease): boolean {
    return state === 'declined' || owner.kind === 'name' || this.knowledge.isKnownStopped(owner.vmId);
  }

  private freeDone(tx: Tx, done: readonly Lease[]): number {
    // Read again: another request may have come in between.
    const unchanged = done.filter(({ id, revision }) => tx.leases.findById(id)?.revision === revision);
    for (const lease of unchanged) this.leases.changer.free(tx, lease, CONTROLLER, 'its reservation is over');
    return unchanged.length;
  }

  private async prune(nowMs: number): Promise<void> {
    if (this.prunedAtMs !== undefined && nowMs - this.prunedAtMs < PRUNE_EVERY_MS) return;
    this.prunedAtMs = nowMs;
    await this.pruneSlices((tx) => tx.requests.prune(nowMs - ANSWER_KEPT_MS, SLICE));
    await this.pruneSlices((tx) => tx.jobs.prune(nowMs - ANSWER_KEPT_MS, SLICE));
    await this.pruneSlices((tx) => tx.events.prune(nowMs - EVENTS_KEPT_MS, SLICE));
    await this.journal.submit((tx) => {
      tx.tokens.prune(nowMs - TOKENS_KEPT_MS);
      tx.identities.prune(nowMs - IDENTITIES_KEPT_MS);
    });
  }

  private async pruneSlices(prune: (tx: Tx) => number): Promise<void> {
    while ((await this.journal.submit(prune)) >= SLICE);
  }
}

type Handle = (tx: Tx, lease: Lease, leases: LeaseService) => 'freed' | 'expired' | 'unchanged';

function freeDue(tx: Tx, lease: Lease, leases: LeaseService): 'freed' | 'unchanged' {
  if (nextState(lease.state, 'free') !== 'free') return 'unchanged';
  const why = lease.state === 'pending' ? 'nobody bound it in time' : 'its rest is over';
  leases.changer.free(tx, lease, CONTROLLER, why);
  return 'freed';
}

function endOne(tx: Tx, lease: Lease, leases: LeaseService): 'freed' | 'expired' | 'unchanged' {
  return leases.changer.end(tx, lease, CONTROLLER);
}
