import type { Event } from '../domain/event.js';
import type { Vm } from '../domain/vm.js';
import { nothingSeen, type VmLook } from '../domain/vm-look.js';
import type { Timers } from '../ports/timer.js';
import type { EventLog } from './event-log.js';
import type { Fleet } from './fleet.js';
import type { OrderAnswer, OrderBook } from './order-book.js';
import { orderError, type VmOperator } from './vm-operator.js';
import type { VmQuery, VmView } from './vm-query.js';

export interface VmInspectorOptions {
  readonly fleet: Fleet;
  readonly query: VmQuery;
  readonly operator: VmOperator;
  readonly orders: OrderBook;
  readonly events: EventLog;
  readonly timers: Timers;
}

export interface Inspection {
  readonly view: VmView;
  readonly look: VmLook;
  /** The newest last. */
  readonly lastErrors: readonly Event[];
}

/** Whoever asks sits before a terminal; the host limits each part of its answer to less. */
const LOOK_MS = 6_000;
const ERROR_KINDS = ['vm.failed', 'vm.held', 'vm.create-undone', 'lease.declined'] as const;
const MAX_ERRORS = 5;

/** All that can be known of one VM, its host asked. */
export class VmInspector {
  private readonly options: VmInspectorOptions;

  constructor(options: VmInspectorOptions) {
    this.options = options;
  }

  /**
   * What the host does not tell is in `look.notKnown`, and no error.
   *
   * @throws {AppError} `not_found`, or `invalid` for a name that several VMs have
   */
  async inspect(name: string, signal: AbortSignal): Promise<Inspection> {
    const { query, events } = this.options;
    const { vm } = query.get(name);
    const look = await this.look(vm, signal);
    const lastErrors = events.list({ vmId: vm.id, kinds: ERROR_KINDS }, undefined, MAX_ERRORS);
    return { view: query.view(vm), look, lastErrors };
  }

  private async look(vm: Vm, signal: AbortSignal): Promise<VmLook> {
    const refusal = this.options.operator.refusal(vm);
    if (refusal) return nothingSeen(refusal.message);
    const answer = await this.ask(vm, signal);
    if (answer.kind === 'done') return answer.look ?? nothingSeen('its host told nothing of them');
    const { message, details } = orderError(answer);
    const hint = details['hint'];
    return nothingSeen(hint === undefined ? message : `${message} (${hint})`);
  }

  private async ask(vm: Vm, signal: AbortSignal): Promise<OrderAnswer> {
    const { orders, timers, fleet } = this.options;
    const stop = new AbortController();
    let forgetTimer = (): void => undefined;
    const late = new Promise<OrderAnswer>((resolve) => {
      const message = `host ${fleet.hostName(vm.hostId)} did not tell in ${LOOK_MS / 1000} s`;
      forgetTimer = timers.after(LOOK_MS, () => resolve({ kind: 'unknown', code: 'timeout', message }));
    });
    const request = { vmKey: vm.key, timeoutMs: LOOK_MS, action: { kind: 'look' } } as const;
    const options = { signal: AbortSignal.any([signal, stop.signal]), turnWithinMs: LOOK_MS };
    try {
      return await Promise.race([late, orders.run(vm.hostId, request, options)]);
    } finally {
      forgetTimer();
      stop.abort();
    }
  }
}
