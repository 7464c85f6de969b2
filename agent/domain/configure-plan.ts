import { notFound, wrongState } from '../../shared/errors.js';
import { bridgeError, chooseBridge, type BridgeChoice, type HostBridges } from '../../shared/domain/bridge.js';
import { formatIpv4, type Ipv4 } from '../../shared/domain/ipv4.js';
import { formatMac, type Mac } from '../../shared/domain/mac.js';
import { type FormerCfg, formerAfterWrite } from './former-cfg.js';
import type { GuestSettings, VifSettings } from './order.js';
import type { ObservedVm } from './vm.js';
import { setString } from './xl-cfg/edit.js';
import type { XlCfg } from './xl-cfg/syntax.js';
import { listVifs, removeVifParameter, setVifParameter } from './xl-cfg/vif.js';
import { formatXlCfg } from './xl-cfg/xl-cfg.js';

export type ConfigureStep =
  | { readonly kind: 'probe'; readonly address: Ipv4; readonly mac: Mac; readonly bridge: string | undefined }
  /** Made durable before anything is changed: what the cfg and what is kept of it was, and what it is to be. */
  | {
      readonly kind: 'note intent';
      readonly before: string;
      readonly after: string;
      readonly formerBefore: FormerCfg | undefined;
      readonly formerAfter: FormerCfg;
    }
  | { readonly kind: 'write guest'; readonly settings: GuestSettings }
  | { readonly kind: 'restore guest' }
  | { readonly kind: 'write cfg'; readonly before: string; readonly after: string };

/**
 * The steps that give a stopped VM its addresses: the wire is asked first, since nothing is to be undone then; the guest
 * goes before the cfg, since it is the one that may refuse. A cfg that is right already has no step.
 *
 * @param former what is kept of the cfg
 * @throws {AppError} `wrong_state` if the VM is not stopped or a vif has no bridge to go to; `not_found` for a vif that the
 *   cfg does not have, or a bridge that the host does not have
 */
export function planConfigure(
  vm: ObservedVm,
  cfg: XlCfg,
  settings: GuestSettings,
  bridges: HostBridges,
  former?: FormerCfg,
): readonly ConfigureStep[] {
  refuseUnlessStopped(vm, 'its address is changed');
  const placed = settings.vifs.map((vif) => placeVif(vm, vif, bridges));
  const before = formatXlCfg(cfg);
  const after = formatXlCfg(placed.reduce(rewriteVif, cfg));
  const probes = placed.map(({ vif: { address, mac }, probed }) => {
    return { kind: 'probe', address, mac, bridge: probed } as const;
  });
  const formerAfter = formerAfterWrite(former, before, after);
  const intent = { kind: 'note intent', before, after, formerBefore: former, formerAfter } as const;
  return [...probes, intent, { kind: 'write guest', settings }, ...writeCfg(before, after)];
}

/**
 * The steps that give a stopped VM another name, in cfg and guest.
 *
 * @param settings of its guest; `undefined`: the guest is left alone
 * @param former what is kept of the cfg
 * @throws {AppError} `wrong_state` if the VM is not stopped
 */
export function planRename(
  vm: ObservedVm,
  cfg: XlCfg,
  name: string,
  settings: GuestSettings | undefined,
  former?: FormerCfg,
): readonly ConfigureStep[] {
  refuseUnlessStopped(vm, 'it is renamed');
  const before = formatXlCfg(cfg);
  const after = formatXlCfg(setString(cfg, 'name', name));
  const kept = { formerBefore: former, formerAfter: formerAfterWrite(former, before, after) };
  const guest = settings === undefined ? [] : [{ kind: 'write guest', settings } as const];
  return [{ kind: 'note intent', before, after, ...kept }, ...guest, ...writeCfg(before, after)];
}

/**
 * The steps that give a stopped VM the files back that it had before domherd wrote them; none if it has them back.
 *
 * @param text the present cfg, one character a byte
 * @throws {AppError} `wrong_state` if the VM is not stopped, `not_found` if nothing is kept
 */
export function planRestore(vm: ObservedVm, text: string, former: FormerCfg | undefined): readonly ConfigureStep[] {
  refuseUnlessStopped(vm, 'its files are given back');
  if (former === undefined) {
    throw notFound(`domherd holds no former files of ${vm.name}: it never wrote any`, {
      hint: 'only what vm address wrote can be given back',
    });
  }
  if (former.kind === 'restored') return [];
  const states = { formerBefore: former, formerAfter: { kind: 'restored' } } as const;
  const intent = { kind: 'note intent', before: text, after: former.text, ...states } as const;
  return [intent, { kind: 'restore guest' }, ...writeCfg(text, former.text)];
}

/** What people ought to know of a cfg that is given back. */
export function restoreWarnings(cfgPath: string, text: string, former: FormerCfg | undefined): readonly string[] {
  if (former?.kind !== 'kept' || (!former.isEdited && former.written === text)) return [];
  return [
    `${cfgPath} had been edited since domherd wrote it first: what was edited is only in the backup folder of its agent`,
  ];
}

function writeCfg(before: string, after: string): readonly ConfigureStep[] {
  return before === after ? [] : [{ kind: 'write cfg', before, after }];
}

function refuseUnlessStopped(vm: ObservedVm, what: string): void {
  if (vm.state === 'stopped') return;
  throw wrongState(`${vm.name} is ${vm.state}: ${what} while it is stopped`, {
    state: vm.state,
    hint: `domherd vm shutdown ${vm.name}`,
  });
}

interface PlacedVif {
  readonly vif: VifSettings;
  /** Where the wire is asked. */
  readonly probed: string | undefined;
  /** To be written into the cfg; `undefined`: what stands there stays. */
  readonly newBridge: string | undefined;
}

function placeVif(vm: ObservedVm, vif: VifSettings, bridges: HostBridges): PlacedVif {
  const seen = vm.vifs.find((one) => one.index === vif.index);
  if (seen === undefined) {
    throw notFound(`${vm.name} has no vif ${vif.index} for ${formatIpv4(vif.address)}`, { vif: `${vif.index}` });
  }
  const choice = chooseBridge({ named: seen.bridge, script: seen.script, wanted: vif.bridge }, bridges);
  if (choice.kind === 'refused') throw bridgeError(choice.refusal, vm.name, vif.index);
  return {
    vif,
    probed: bridgeOf(choice) ?? seen.bridge,
    newBridge: choice.kind === 'chosen' ? choice.bridge : undefined,
  };
}

function bridgeOf(choice: BridgeChoice): string | undefined {
  return 'bridge' in choice ? choice.bridge : undefined;
}

// `ip=` goes: vif-bridge makes a firewall rule of it, which drops what a guest with another address sends.
function rewriteVif(cfg: XlCfg, { vif: { index, mac }, newBridge }: PlacedVif): XlCfg {
  const has = listVifs(cfg).find((vif) => vif.index === index);
  if (has === undefined) return cfg;
  const isRight = has.macAsXlReads === formatMac(mac);
  const withMac = isRight ? cfg : setVifParameter(cfg, index, 'mac', formatMac(mac));
  const withBridge = newBridge === undefined ? withMac : setVifParameter(withMac, index, 'bridge', newBridge);
  return removeVifParameter(withBridge, index, 'ip');
}
