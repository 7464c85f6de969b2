// Invariants:
// - A guess is no choice: of two bridges without a word from anybody, none is taken.
// - A cfg that names a bridge which is there is left alone.
import { AppError, type ErrorCode } from '../errors.js';

/** A Linux bridge of a dom0. */
export interface Bridge {
  readonly name: string;
  /** Names of interfaces, those of domUs included. */
  readonly members: readonly string[];
  /** Of the members, those that lead out of the host. */
  readonly uplinks: readonly string[];
  /** dom0's own, "10.180.255.1/14", without link-local ones; known only while the link is up. */
  readonly addresses: readonly string[];
  readonly isUp: boolean;
}

/** What the vifs of a host can be put on. */
export interface HostBridges {
  /** By name. */
  readonly bridges: readonly Bridge[];
  /** vif.default.bridge of xl.conf; `undefined`: not set. */
  readonly xlBridge: string | undefined;
  /** vif.default.script of xl.conf; `undefined`: not set. */
  readonly xlScript: string | undefined;
}

/** What is known of a vif that is to be put on a bridge. */
export interface VifBridge {
  /** In its cfg. */
  readonly named: string | undefined;
  /** The script in its cfg. */
  readonly script?: string | undefined;
  /** What the user asks for, should the cfg name none that exists. */
  readonly wanted?: string | undefined;
}

export type BridgeChoice =
  /** Nothing to write: the cfg names it. */
  | { readonly kind: 'kept'; readonly bridge: string; readonly reason: string }
  /** To be written into the cfg. */
  | { readonly kind: 'chosen'; readonly bridge: string; readonly reason: string }
  /** The vif's script uses no Linux bridge: not domherd's business. */
  | { readonly kind: 'unbridged'; readonly reason: string }
  | { readonly kind: 'refused'; readonly refusal: BridgeRefusal };

export interface BridgeRefusal {
  readonly code: ErrorCode;
  /** Goes on after "vif 0 of domU". */
  readonly message: string;
  /** A bridge to ask for instead; `undefined`: there is none. */
  readonly suggestion: string | undefined;
}

/** libxl's, for a vif without a bridge: it does not look whether it exists. */
const XL_BRIDGE = 'xenbr0';
const BRIDGE_SCRIPT = 'vif-bridge';

/** The bridge of a vif, and why. Left to themselves xl takes xenbr0 and vif-bridge the first bridge that it finds. */
export function chooseBridge(vif: VifBridge, host: HostBridges): BridgeChoice {
  const script = scriptOf(vif, host);
  if (script !== BRIDGE_SCRIPT) return { kind: 'unbridged', reason: `its script is ${script}` };
  const { named, wanted } = vif;
  if (named !== undefined && hasBridge(host, named)) {
    return { kind: 'kept', bridge: named, reason: 'its cfg names it' };
  }
  if (wanted !== undefined) return takeWanted(wanted, host);
  return named === undefined ? defaultBridge(host) : { kind: 'refused', refusal: refuseNamed(named, host) };
}

/** What a vif gets whose cfg names no bridge; never `kept`. */
export function defaultBridge(host: HostBridges): BridgeChoice {
  const { bridges, xlBridge } = host;
  if (xlBridge !== undefined && hasBridge(host, xlBridge)) {
    return { kind: 'chosen', bridge: xlBridge, reason: 'xl.conf has it as vif.default.bridge' };
  }
  const [first, second] = bridges;
  if (first === undefined) return { kind: 'refused', refusal: refuseNone() };
  if (second !== undefined) return { kind: 'refused', refusal: refuseSeveral(host) };
  return { kind: 'chosen', bridge: first.name, reason: `the only bridge of the host${trapOf(host, first.name)}` };
}

/**
 * Why a domain is not to be made of a cfg as it stands: a vif would get no bridge, or one that nobody chose. `undefined` if
 * it may be.
 *
 * @param vm for people: NAME, or NAME@HOST
 */
export function refuseCreate(
  vm: string,
  vifs: readonly (VifBridge & { readonly index: number })[],
  host: HostBridges,
): AppError | undefined {
  for (const vif of vifs) {
    const refusal = refuseAsItStands(vif, host);
    if (refusal) return bridgeError(refusal, vm, vif.index);
  }
  return undefined;
}

/** @param vm for people: NAME, or NAME@HOST */
export function bridgeError({ code, message, suggestion }: BridgeRefusal, vm: string, vifIndex: number): AppError {
  const hint = suggestion === undefined ? MAKE_ONE : `domherd vm address ${vm} --bridge ${suggestion}`;
  return new AppError(code, `vif ${String(vifIndex)} of ${vm} ${message}`, { vif: String(vifIndex), hint });
}

/** "xenbr0 (uplink eth0, has dom0's address), br1 (no uplink)". */
export function describeBridges({ bridges }: HostBridges): string {
  return bridges.map((bridge) => `${bridge.name} (${describeBridge(bridge)})`).join(', ');
}

/** Taking it down would cut dom0 off. */
export function carriesHostAddress({ addresses }: Bridge): boolean {
  return addresses.length > 0;
}

function refuseAsItStands(vif: VifBridge, host: HostBridges): BridgeRefusal | undefined {
  const choice = chooseBridge(vif, host);
  if (choice.kind === 'refused') return choice.refusal;
  const xlTakes = host.xlBridge ?? XL_BRIDGE;
  if (choice.kind !== 'chosen' || choice.bridge === xlTakes) return undefined;
  return refusal(`names no bridge, and ${xlTakes}, which xl would take, is not there`, choice.bridge);
}

function takeWanted(wanted: string, host: HostBridges): BridgeChoice {
  if (hasBridge(host, wanted)) return { kind: 'chosen', bridge: wanted, reason: 'it was asked for' };
  const message = `cannot be put on ${wanted}: ${describeStock(host)}`;
  return { kind: 'refused', refusal: { code: 'not_found', message, suggestion: host.bridges[0]?.name } };
}

const MAKE_ONE = 'make one on the host, in its network configuration: domherd makes and changes no bridge';

function refuseNone(): BridgeRefusal {
  return refusal('names no bridge, and the host has none', undefined);
}

function refuseSeveral(host: HostBridges): BridgeRefusal {
  const stock = `${String(host.bridges.length)}: ${describeBridges(host)}${trapOf(host)}`;
  return refusal(`names no bridge, and the host has ${stock}`, host.bridges[0]?.name);
}

function refuseNamed(named: string, host: HostBridges): BridgeRefusal {
  // vif-bridge knows the names of old, when a bridge was called as its interface.
  const digits = /^xenbr(\d+)$/.exec(named)?.[1];
  const former = digits !== undefined && hasBridge(host, `eth${digits}`) ? `eth${digits}` : undefined;
  const trap = former === undefined ? '' : `; vif-bridge would silently take ${former} for it`;
  const message = `names bridge ${named}, which is not there: ${describeStock(host)}${trap}`;
  return refusal(message, former ?? host.bridges[0]?.name);
}

function refusal(message: string, suggestion: string | undefined): BridgeRefusal {
  return { code: 'wrong_state', message, suggestion };
}

function describeStock(host: HostBridges): string {
  return host.bridges.length === 0 ? 'the host has none' : `the host has ${describeBridges(host)}`;
}

/** What would happen if nobody chose. */
function trapOf(host: HostBridges, chosen?: string): string {
  const xlTakes = host.xlBridge ?? XL_BRIDGE;
  if (xlTakes === chosen) return '';
  return hasBridge(host, xlTakes) ? '' : `; xl by itself would take ${xlTakes}, which is not there`;
}

function describeBridge(bridge: Bridge): string {
  const uplink = bridge.uplinks.length === 0 ? 'no uplink' : `uplink ${bridge.uplinks.join(' ')}`;
  return [uplink, ...(carriesHostAddress(bridge) ? ["has dom0's address"] : [])].join(', ');
}

function scriptOf({ script }: VifBridge, { xlScript }: HostBridges): string {
  const path = script ?? xlScript ?? BRIDGE_SCRIPT;
  return path.slice(path.lastIndexOf('/') + 1);
}

function hasBridge({ bridges }: HostBridges, name: string): boolean {
  return bridges.some((bridge) => bridge.name === name);
}
