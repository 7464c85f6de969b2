import type { Bridge, BridgesOfHost } from '../../../shared/gen/domherd/v1/host.js';
import type { Column, View } from '../output.js';

/** One bridge of one host. */
export interface BridgeRow {
  readonly host: string;
  readonly simulated: boolean;
  readonly stale: boolean;
  readonly isDefault: boolean;
  readonly defaultReason: string;
  readonly bridge: Bridge;
  readonly vms: readonly string[];
}

export function bridgeRows({
  host,
  simulated,
  stale,
  defaultBridge,
  defaultReason,
  bridges,
}: BridgesOfHost): BridgeRow[] {
  return bridges.flatMap(({ bridge, vms }) => {
    if (bridge === undefined) return [];
    const isDefault = bridge.name === defaultBridge;
    return [{ host, simulated, stale, isDefault, defaultReason: isDefault ? defaultReason : '', bridge, vms }];
  });
}

function note({ simulated, stale, isDefault, bridge }: BridgeRow): string {
  const marks = [
    isDefault ? 'default' : '',
    bridge.addresses.length > 0 ? "carries dom0's address" : '',
    bridge.up ? '' : 'link down',
    simulated ? 'simulated' : '',
    stale ? 'last seen' : '',
  ];
  return marks.filter((mark) => mark !== '').join(', ');
}

const SHOWN = 4;

function shorten(names: readonly string[]): string {
  const more = names.length - SHOWN;
  return `${names.slice(0, SHOWN).join(' ') || '-'}${more > 0 ? ` and ${String(more)} more` : ''}`;
}

/** @param list how many names are written */
function columnsWith(list: (names: readonly string[]) => string): readonly Column<BridgeRow>[] {
  return [
    { title: 'HOST', text: ({ host }) => host },
    { title: 'BRIDGE', text: ({ bridge }) => bridge.name },
    { title: 'UPLINK', text: ({ bridge }) => bridge.uplinks.join(' ') || '-' },
    { title: 'MEMBERS', text: ({ bridge }) => list(bridge.members) },
    { title: 'ADDRESS', text: ({ bridge }) => bridge.addresses.join(' ') || '-' },
    { title: 'VMS', text: ({ vms }) => list(vms) },
    { title: 'NOTE', text: note },
  ];
}

export const BRIDGE_VIEW: View<BridgeRow> = {
  columns: columnsWith(shorten),
  wide: columnsWith((names) => names.join(' ') || '-'),
  json: ({ host, simulated, stale, isDefault, defaultReason, bridge, vms }) => ({
    host,
    bridge: bridge.name,
    members: bridge.members,
    uplinks: bridge.uplinks,
    addresses: bridge.addresses,
    carriesHostAddress: bridge.addresses.length > 0,
    up: bridge.up,
    vms,
    default: isDefault,
    defaultReason: isDefault ? defaultReason : null,
    simulated,
    stale,
  }),
  name: ({ host, bridge }) => `${bridge.name}@${host}`,
};
