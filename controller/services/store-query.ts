import type { HostStore } from '../../shared/domain/host-store.js';
import type { Fleet, HostView } from './fleet.js';

/** What the disks of one host's VMs are kept in. */
export interface StoresView {
  readonly host: string;
  readonly isSimulated: boolean;
  /** The host is not online: all of this is what was last seen. */
  readonly isStale: boolean;
  /** `undefined`: the host has not told. */
  readonly stores: readonly HostStore[] | undefined;
}

/** Stores as the hosts last told of them. */
export class StoreQuery {
  private readonly fleet: Fleet;

  constructor(options: { readonly fleet: Fleet }) {
    this.fleet = options.fleet;
  }

  /** By name of the host. @param host `undefined`: all @throws {AppError} `not_found` */
  list(host: string | undefined): readonly StoresView[] {
    const views = host === undefined ? this.fleet.hosts() : [this.fleet.host(host)];
    return views.map((view) => this.toView(view));
  }

  private toView({ host: { id, name, isSimulated } }: HostView): StoresView {
    return { host: name, isSimulated, isStale: !this.fleet.isReachable(id), stores: this.fleet.storesOf(id) };
  }
}
