import { formatIpv4 } from '../../shared/domain/ipv4.js';
import { formatMac } from '../../shared/domain/mac.js';
import { ownerKey, type Lease } from '../domain/lease.js';
import type { Caller } from '../domain/caller.js';
import type { Vm } from '../domain/vm.js';
import type { MacEntry, Stores, Tx } from '../ports/store.js';
import type { LeaseService } from './lease-service.js';
import type { MacService } from './mac-service.js';

/** What a VM has: leases that were given to it and not taken back yet, and MACs of its vifs without a lease. */
export interface Holdings {
  readonly leases: readonly Lease[];
  readonly claims: readonly MacEntry[];
}

export class VmHoldings {
  private readonly options: { readonly leases: LeaseService; readonly macs: MacService };

  constructor(options: { readonly leases: LeaseService; readonly macs: MacService }) {
    this.options = options;
  }

  find(stores: Stores, vm: Vm): Holdings {
    const owners = vm.vifs.map(({ index }) => ownerKey({ kind: 'vif', vmId: vm.id, vifIndex: index }));
    return {
      leases: stores.leases.listByVm(vm.id).filter(isLive),
      claims: owners.flatMap((owner) => stores.macs.findClaim(owner) ?? []),
    };
  }

  /**
   * Its addresses rest, its claims are gone.
   *
   * @param force although it is not known to be stopped
   * @throws {AppError} `wrong_state`
   */
  releaseIn(tx: Tx, vm: Vm, caller: Caller, options: { readonly force: boolean }): Holdings {
    const { leases, macs } = this.options;
    const holdings = this.find(tx, vm);
    const addresses = holdings.leases.map(({ address }) => address);
    leases.releaseIn(tx, addresses, caller, options);
    for (const { mac } of holdings.claims) macs.releaseIn(tx, mac, caller);
    return holdings;
  }
}

/** What its release is, as steps of a plan. */
export function releaseSteps({ leases, claims }: Holdings): readonly (readonly [action: string, detail: string])[] {
  return [
    ...leases.map(({ address, mac }) => ['release lease', `${formatIpv4(address)} (${formatMac(mac)})`] as const),
    ...claims.map(({ mac }) => ['release MAC', formatMac(mac)] as const),
  ];
}

function isLive({ state }: Lease): boolean {
  return state === 'pending' || state === 'bound' || state === 'expired';
}
