import { invalid } from '../../../shared/errors.js';
import type { Bridge, HostBridges } from '../../../shared/domain/bridge.js';
import type {
  BridgesOfHost,
  Bridge as WireBridge,
  HostBridges as WireBridges,
} from '../../../shared/gen/domherd/v1/host.js';
import type { BridgesView } from '../../services/bridge-query.js';
import { textFrom } from './convert-observation.js';

/** A dom0 has a few; each domU's vif is a member. */
const MAX_BRIDGES = 1_024;
const MAX_MEMBERS = 4_096;

/** Unset is `undefined`. @throws {AppError} `invalid` naming the field, for more than any host has */
export function bridgesFrom(wire: WireBridges | undefined, field: string): HostBridges | undefined {
  if (wire === undefined) return undefined;
  checkLength(wire.bridges, `${field}.bridges`, MAX_BRIDGES);
  return {
    bridges: wire.bridges.map((bridge, n) => bridgeFrom(bridge, `${field}.bridges[${String(n)}]`)),
    xlBridge: textFrom(wire.xlBridge),
    xlScript: textFrom(wire.xlScript),
  };
}

function bridgeFrom(wire: WireBridge, field: string): Bridge {
  const texts = (values: readonly string[], name: string): readonly string[] => {
    checkLength(values, `${field}.${name}`, MAX_MEMBERS);
    return values.flatMap((value) => textFrom(value) ?? []);
  };
  return {
    name: textFrom(wire.name) ?? '(no name)',
    members: texts(wire.members, 'members'),
    uplinks: texts(wire.uplinks, 'uplinks'),
    addresses: texts(wire.addresses, 'addresses'),
    isUp: wire.up,
  };
}

function checkLength(values: readonly unknown[], field: string, max: number): void {
  if (values.length <= max) return;
  throw invalid(`${field} has ${String(values.length)} entries, more than ${String(max)}`, { field });
}

export function bridgesToWire({ host, isSimulated, isStale, bridges, chosen }: BridgesView): BridgesOfHost {
  return {
    ...{ host, simulated: isSimulated, stale: isStale, known: bridges !== undefined },
    bridges: (bridges ?? []).map(({ bridge, vms }) => ({ bridge: bridgeToWire(bridge), vms: [...vms] })),
    defaultBridge: chosen.bridge ?? '',
    defaultReason: chosen.reason,
  };
}

function bridgeToWire({ name, members, uplinks, addresses, isUp }: Bridge): WireBridge {
  return { name, members: [...members], uplinks: [...uplinks], addresses: [...addresses], up: isUp };
}
