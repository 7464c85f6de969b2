import { defaultBridge, type Bridge, type HostBridges } from '../../shared/domain/bridge.js';
import type { Vm } from '../domain/vm.js';
import type { Fleet, HostView } from './fleet.js';

export interface BridgeUse {
  readonly bridge: Bridge;
  /** Names of VMs whose cfg puts a vif on it, running or not. */
  readonly vms: readonly string[];
}

/** The bridges of one host. */
export interface BridgesView {
  readonly host: string;
  readonly isSimulated: boolean;
  /** The host is not online: all of this is what was last seen. */
  readonly isStale: boolean;
  /** `undefined`: the host has not told. */
  readonly bridges: readonly BridgeUse[] | undefined;
  readonly chosen: DefaultBridge;
}

/** What a vif gets whose cfg names no bridge. */
export interface DefaultBridge {
  /** `undefined`: it is refused. */
  readonly bridge: string | undefined;
  readonly reason: string;
}

const NOT_TOLD: DefaultBridge = { bridge: undefined, reason: 'the host has not told of its bridges yet' };

/** Bridges as the hosts last told of them. */
export class BridgeQuery {
  private readonly fleet: Fleet;

  constructor(options: { readonly fleet: Fleet }) {
    this.fleet = options.fleet;
  }

  /** By name of the host. @param host `undefined`: all @throws {AppError} `not_found` */
  list(host: string | undefined): readonly BridgesView[] {
    const views = host === undefined ? this.fleet.hosts() : [this.fleet.host(host)];
    return views.map((view) => this.toView(view));
  }

  private toView({ host: { id, name, isSimulated } }: HostView): BridgesView {
    const known = this.fleet.bridgesOf(id);
    const vms = this.fleet.vms.onHost(id).filter((vm) => !vm.isGone);
    return {
      host: name,
      isSimulated,
      isStale: !this.fleet.isReachable(id),
      bridges: known?.bridges.map((bridge) => ({ bridge, vms: namesOn(bridge.name, vms) })),
      chosen: known ? chosenOf(known) : NOT_TOLD,
    };
  }
}

function chosenOf(host: HostBridges): DefaultBridge {
  const choice = defaultBridge(host);
  if (choice.kind === 'chosen') return { bridge: choice.bridge, reason: choice.reason };
  return { bridge: undefined, reason: choice.kind === 'refused' ? `a vif that ${choice.refusal.message}` : '' };
}

function namesOn(bridge: string, vms: readonly Vm[]): readonly string[] {
  return vms
    .filter((vm) => vm.vifs.some((vif) => vif.bridge === bridge))
    .map(({ name }) => name)
    .sort();
}
