import { createHash } from 'node:crypto';
import type { Logger } from 'pino';
import { AppError, ERROR_CODES, notFound, toAppError, wrongState, type ErrorDetails } from '../../shared/errors.js';
import { refuseUnreachable, type PlannedStep } from '../domain/address-plan.js';
import type { Caller } from '../domain/caller.js';
import type { NewEvent } from '../domain/event.js';
import { whyGone, type Vm } from '../domain/vm.js';
import { findMove } from './vm-move.js';
import { liveRenames } from './vm-rename.js';
import type { OrderAction } from '../ports/agent-link.js';
import type { Clock } from '../ports/environment.js';
import type { Tx } from '../ports/store.js';
import type { EventLog } from './event-log.js';
import type { Fleet } from './fleet.js';
import type { Journal } from './journal.js';
import { KeyedQueue } from './keyed-queue.js';
import type { OrderAnswer, OrderBook, OrderOptions } from './order-book.js';
import type { Tell, VmResult, VmStep } from './vm-progress.js';
import type { VmQuery } from './vm-query.js';

export interface VmOperatorOptions {
  readonly fleet: Fleet;
  readonly orders: OrderBook;
  readonly query: VmQuery;
  readonly journal: Journal;
  readonly events: EventLog;
  readonly clock: Clock;
  readonly log: Logger;
}

/** As many of one kind and VM as are looked through for a request that came before. */
const RECENT_EVENTS = 100;

/** How one VM is told something and how what comes of it is told. */
export class VmOperator {
  private readonly options: VmOperatorOptions;
  /** By the id of the first try. */
  private readonly requested = new KeyedQueue<string>();

  constructor(options: VmOperatorOptions) {
    this.options = options;
  }

  /** The VM as it is known now. */
  present(vm: Vm): Vm {
    return this.options.fleet.vms.byId(vm.id) ?? { ...vm, isGone: true };
  }

  /** Why the VM cannot be told anything now; `undefined` if it can. */
  refusal(vm: Vm): AppError | undefined {
    const label = `VM ${this.options.fleet.label(vm)}`;
    if (vm.isGone) return notFound(`${label} is ${whyGone(vm)}`, this.subject(vm));
    const { fleet } = this.options;
    const unreachable = refuseUnreachable(label, fleet.hostName(vm.hostId), fleet.isReachable(vm.hostId));
    return unreachable ?? this.refuseMoving(vm);
  }

  /** What of a VM that is being migrated or renamed is nobody else's to touch. */
  refuseMoving(vm: Vm): AppError | undefined {
    const { journal, fleet } = this.options;
    const rename = journal.read(({ jobs }) => liveRenames(jobs).find(({ vmId }) => vmId === vm.id));
    if (rename) {
      return wrongState(`VM ${fleet.label(vm)} is being renamed: ${rename.formerName} to ${rename.name}`, {
        vm: vm.name,
        hint: `it goes on by itself: domherd vm show ${vm.name}`,
      });
    }
    const move = journal.read(({ jobs }) => findMove(jobs, vm));
    if (move === undefined) return undefined;
    const [from, to] = [fleet.hostName(move.sourceHostId), fleet.hostName(move.targetHostId)];
    const what = move.isMoved ? `what is left of it on ${from} is taken away` : `from ${from} to ${to}`;
    return wrongState(`VM ${fleet.label(vm)} is being migrated: ${what}`, {
      vm: vm.name,
      hint: `it goes on by itself: domherd vm show ${vm.name}`,
    });
  }

  /**
   * @param timeoutMs the agent's own limit, 1,000 to 7,200,000
   * @param options how long it may wait behind the host's other orders, and its id if it is kept; without end, a fresh one
   */
  order(
    vm: Pick<Vm, 'hostId' | 'key' | 'name'>,
    action: OrderAction,
    timeoutMs: number,
    signal: AbortSignal,
    tell: Tell,
    options: Pick<OrderOptions, 'turnWithinMs' | 'orderId' | 'isFinal'> = {},
  ): Promise<OrderAnswer> {
    const onProgress = ({ message, percent }: { message: string; percent: number | undefined }): void =>
      tell(this.step(vm, message, percent));
    const request = { vmKey: vm.key, timeoutMs, action };
    return this.options.orders.run(vm.hostId, request, { ...options, signal, onProgress });
  }

  /**
   * As {@link order}, once for a request that has an id: when it comes again, whichever controller is there then, its host
   * answers from its journal. An order that failed is tried anew.
   */
  orderOnce(
    caller: Caller,
    vm: Vm,
    action: OrderAction,
    timeoutMs: number,
    signal: AbortSignal,
    tell: Tell,
    options: Pick<OrderOptions, 'isFinal'> = {},
  ): Promise<OrderAnswer> {
    if (caller.requestId === undefined) return this.order(vm, action, timeoutMs, signal, tell, options);
    return this.requested.run(orderIdOf(caller, vm, action, 0), async () => {
      for (let tries = 0; ; tries++) {
        const orderId = orderIdOf(caller, vm, action, tries);
        const answer = await this.order(vm, action, timeoutMs, signal, tell, { ...options, orderId });
        // A try that failed before keeps its id, which runs nothing any more: the next one has another.
        if (answer.kind !== 'failed' || answer.isAgain !== true) return answer;
      }
    });
  }

  /** For an order that is kept before it is sent. */
  newOrderId(): string {
    return this.options.orders.newOrderId();
  }

  /**
   * Runs `work` on one VM; what it throws is that VM's result, and kept.
   *
   * @param verb of the command, as in `vm start`
   */
  async guard(caller: Caller, vm: Vm, verb: string, work: () => Promise<VmResult>): Promise<VmResult> {
    try {
      return await work();
    } catch (error) {
      const result = this.failure(vm, error);
      await this.recordFailed(caller, vm, verb, result);
      return result;
    }
  }

  plan(vm: Pick<Vm, 'hostId' | 'name'>, action: string, detail: string): PlannedStep {
    return { ...this.subject(vm), action, detail };
  }

  step(vm: Pick<Vm, 'hostId' | 'name'>, message: string, percent?: number): VmStep {
    return { kind: 'step', ...this.subject(vm), message, percent };
  }

  done(vm: Vm, message: string, details: ErrorDetails = {}): VmResult {
    return { ...this.base(vm), code: undefined, message, details };
  }

  failure(vm: Vm, thrown: unknown): VmResult {
    const error = toAppError(thrown);
    if (error.code !== 'internal') {
      return { ...this.base(vm), code: error.code, message: error.message, details: error.details };
    }
    this.options.log.error({ err: thrown, ...this.subject(vm) }, 'vm operation failed');
    return {
      ...this.base(vm),
      code: 'internal',
      message: 'internal error, see the log of the controller',
      details: {},
    };
  }

  /**
   * What a dry run tells of each VM, behind its plan: the refusal that the run would end in, as far as is known before.
   *
   * @param refusals of each of `vms`
   */
  foresee(vms: readonly Vm[], refusals: readonly (AppError | undefined)[]): readonly VmResult[] {
    return vms.map((vm, n) => {
      const refusal = refusals[n];
      return refusal ? this.failure(vm, refusal) : this.done(vm, 'nothing stands against it');
    });
  }

  record(tx: Tx, caller: Caller, vm: Vm, event: Pick<NewEvent, 'kind' | 'message' | 'details' | 'reservation'>): void {
    this.options.events.record(tx, {
      ...event,
      atMs: this.options.clock.nowMs(),
      actor: caller.actor,
      requestId: caller.requestId,
      host: this.options.fleet.hostName(vm.hostId),
      // 0: its host does not tell of it.
      vmId: vm.id || undefined,
    });
  }

  /** Keeps who had it done. @param isAgain by an order that came again: once for a request that has an id */
  async recordDone(caller: Caller, vm: Vm, kind: string, verb: string, isAgain = false): Promise<void> {
    const message = `VM ${this.options.fleet.label(vm)} was ${verb} by ${caller.actor}`;
    await this.options.journal.submit((tx) => {
      if (!isAgain || !isRecorded(tx, caller, vm, kind)) this.record(tx, caller, vm, { kind, message });
    });
  }

  /** Never throws: whoever asked is told all the same. */
  private async recordFailed(caller: Caller, vm: Vm, verb: string, { code, message }: VmResult): Promise<void> {
    const { journal, fleet, log } = this.options;
    const kept = {
      kind: 'vm.failed',
      message: `vm ${verb} of ${fleet.label(vm)}: ${message}`,
      details: { verb, code: code ?? '' },
    };
    try {
      await journal.submit((tx) => this.record(tx, caller, vm, kept));
    } catch (error) {
      log.warn({ err: error, ...this.subject(vm) }, 'failure not kept');
    }
  }

  private subject(vm: Pick<Vm, 'hostId' | 'name'>): { vm: string; host: string } {
    return { vm: vm.name, host: this.options.fleet.hostName(vm.hostId) };
  }

  private base(vm: Vm): Pick<VmResult, 'kind' | 'vm' | 'host' | 'state'> {
    return { kind: 'result', ...this.subject(vm), state: this.options.query.view(vm) };
  }
}

/** @throws {AppError} what the agent answered, or that it did not */
export function expectDone(answer: OrderAnswer): Extract<OrderAnswer, { kind: 'done' }> {
  if (answer.kind !== 'done') throw orderError(answer);
  return answer;
}

/** The same request to the same VM has the same ids, whichever controller asks. @param tries that failed before */
function orderIdOf({ requestId, fingerprint }: Caller, vm: Vm, { kind }: OrderAction, tries: number): string {
  const parts = [requestId, fingerprint, vm.id, kind, tries];
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 32);
}

function isRecorded(tx: Tx, { requestId }: Caller, vm: Vm, kind: string): boolean {
  if (requestId === undefined) return false;
  const recent = tx.events.list({ kinds: [kind], vmId: vm.id }, undefined, RECENT_EVENTS);
  return recent.some((event) => event.requestId === requestId);
}

export function orderError(answer: Exclude<OrderAnswer, { kind: 'done' }>): AppError {
  const code = ERROR_CODES.find((known) => known === answer.code) ?? 'internal';
  if (answer.kind !== 'failed') return new AppError(code, answer.message);
  return new AppError(code, answer.message, answer.details);
}
