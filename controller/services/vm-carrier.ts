import type { VmShape } from '../../shared/domain/vm-shape.js';
import { AppError } from '../../shared/errors.js';
import type { HostId, Vm } from '../domain/vm.js';
import type { OrderAction } from '../ports/agent-link.js';
import type { Fleet } from './fleet.js';
import { KeyedQueue } from './keyed-queue.js';
import type { OrderAnswer } from './order-book.js';
import type { TransferHub } from './transfer-hub.js';
import { orderError, type VmOperator } from './vm-operator.js';
import type { Tell } from './vm-progress.js';

/** From which VM to which. Plain data, which survives JSON. */
export interface CarryOrder {
  readonly kind: 'carry';
  readonly sourceHostId: HostId;
  readonly sourceKey: string;
  readonly name: string;
  readonly uuid: string;
  readonly shape: VmShape;
}

export interface VmCarrierOptions {
  readonly fleet: Fleet;
  readonly operator: VmOperator;
  readonly transfers: TransferHub;
}

type Place = Pick<Vm, 'hostId' | 'key' | 'name'>;
type Wanted = Pick<Extract<OrderAction, { readonly kind: 'receive' }>, 'copy' | 'storage'>;

/** A large image over a slow network. */
const CARRY_MS = 3_600_000;

/** Has one host send a stopped VM, and another make a VM of what comes. */
export class VmCarrier {
  private readonly options: VmCarrierOptions;
  /** By what is sent: its host does one order on a VM at a time, and a transfer whose ends do not come is given up. */
  private readonly turns = new KeyedQueue<string>();

  constructor(options: VmCarrierOptions) {
    this.options = options;
  }

  /**
   * @param vm that is to be
   * @param wanted what it is to be
   * @returns the receiver's answer, or, where that one failed because of the sender, the sender's: what is there in the end is
   *   for the receiver to say
   */
  carry(source: Place, vm: Place, wanted: Wanted, signal: AbortSignal, tell: Tell): Promise<OrderAnswer> {
    return this.turns.run(`${String(source.hostId)} ${source.key}`, async () =>
      signal.aborted ? cancelled() : this.transfer(source, vm, wanted, signal, tell),
    );
  }

  private async transfer(
    source: Place,
    vm: Place,
    wanted: Wanted,
    signal: AbortSignal,
    tell: Tell,
  ): Promise<OrderAnswer> {
    const { fleet, operator, transfers } = this.options;
    const [from, to] = [fleet.hostName(source.hostId), fleet.hostName(vm.hostId)];
    const transfer = transfers.open(from, to);
    const done = new AbortController();
    const stop = AbortSignal.any([signal, done.signal]);
    const needsSeed = wanted.copy?.shape.userData !== undefined;
    const isMoved = wanted.copy === undefined;
    const send = { kind: 'send', transferId: transfer.id, isMoved, needsSeed } as const;
    const receive = { kind: 'receive', transferId: transfer.id, ...wanted } as const;
    let first: OrderAnswer | undefined;
    const ended = (answer: OrderAnswer): OrderAnswer => {
      if (answer.kind !== 'done') {
        first ??= answer;
        transfer.close(orderError(answer));
      }
      return answer;
    };
    const sending = operator.order(source, send, CARRY_MS, stop, () => undefined).then(ended);
    const received = ended(await operator.order(vm, receive, CARRY_MS, signal, tell));
    // A copy that was there already took nothing: nobody waits for the sender.
    transfer.close(new AppError('unavailable', `${to} has what it needs`));
    done.abort();
    await sending;
    return received.kind === 'failed' && first?.kind === 'failed' ? first : received;
  }
}

function cancelled(): OrderAnswer {
  return { kind: 'unsent', code: 'unavailable', message: 'the request was cancelled before its turn' };
}
