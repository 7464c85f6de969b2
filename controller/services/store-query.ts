import type { HostStore } from '../../shared/domain/host-store.js';
import type { HostId } from '../domain/vm.js';
import type { Fleet, HostView } from './fleet.js';
import type { OrderBook } from './order-book.js';

/** What the disks of one host's VMs are kept in. */
export interface StoresView {
  readonly host: string;
  readonly isSimulated: boolean;
  /** The host is not online, or did not answer in time: all of this is what was last seen. */
  readonly isStale: boolean;
  /** `undefined`: the host has not told. */
  readonly stores: readonly HostStore[] | undefined;
}

/** A dom0 under load takes seconds to ask LVM. */
const LOOK_MS = 10_000;

/** Stores as they are now: room goes, and volume groups come, without an order. */
export class StoreQuery {
  private readonly fleet: Fleet;
  private readonly orders: OrderBook;

  constructor({ fleet, orders }: { readonly fleet: Fleet; readonly orders: OrderBook }) {
    this.fleet = fleet;
    this.orders = orders;
  }

  /** By name of the host. @param host `undefined`: all @throws {AppError} `not_found` */
  list(host: string | undefined, signal: AbortSignal): Promise<readonly StoresView[]> {
    const views = host === undefined ? this.fleet.hosts() : [this.fleet.host(host)];
    return Promise.all(views.map((view) => this.look(view, signal)));
  }

  private async look({ host: { id, name, isSimulated } }: HostView, signal: AbortSignal): Promise<StoresView> {
    const isFresh = this.fleet.isReachable(id) && (await this.refresh(id, signal));
    return { host: name, isSimulated, isStale: !isFresh, stores: this.fleet.storesOf(id) };
  }

  private async refresh(hostId: HostId, signal: AbortSignal): Promise<boolean> {
    const request = { vmKey: 'stores', timeoutMs: LOOK_MS, action: { kind: 'readStores' } } as const;
    const limit = AbortSignal.any([signal, AbortSignal.timeout(LOOK_MS)]);
    const answer = await this.orders.run(hostId, request, { signal: limit });
    if (answer.kind !== 'done' || answer.stores === undefined) return false;
    this.fleet.noteStores(hostId, answer.stores);
    return true;
  }
}
