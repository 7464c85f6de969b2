import { notFound, wrongState } from '../../shared/errors.js';
import { formatIpv4, type Ipv4 } from '../../shared/domain/ipv4.js';
import { formatMac, type Mac } from '../../shared/domain/mac.js';
import type { GuestSettings, VifSettings } from './order.js';
import type { ObservedVm } from './vm.js';
import type { XlCfg } from './xl-cfg/syntax.js';
import { listVifs, removeVifParameter, setVifParameter } from './xl-cfg/vif.js';
import { formatXlCfg } from './xl-cfg/xl-cfg.js';

export type ConfigureStep =
  | { readonly kind: 'probe'; readonly address: Ipv4; readonly mac: Mac; readonly bridge: string | undefined }
  | { readonly kind: 'write guest'; readonly settings: GuestSettings }
  | { readonly kind: 'write cfg'; readonly before: string; readonly after: string };

/**
 * The steps that give a stopped VM its addresses: the wire is asked first, since nothing is to be undone then; the guest
 * goes before the cfg, since it is the one that may refuse. A cfg that is right already has no step.
 *
 * @throws {AppError} `wrong_state` if the VM is not stopped; `not_found` for a vif that the cfg does not have
 */
export function planConfigure(vm: ObservedVm, cfg: XlCfg, settings: GuestSettings): readonly ConfigureStep[] {
  if (vm.state !== 'stopped') {
    throw wrongState(`${vm.name} is ${vm.state}: its address is changed while it is stopped`, {
      state: vm.state,
      hint: `domherd vm shutdown ${vm.name}`,
    });
  }
  const before = formatXlCfg(cfg);
  const after = formatXlCfg(settings.vifs.reduce(rewriteVif, cfg));
  const probes = settings.vifs.map((vif) => planProbe(vm, vif));
  const writeGuest = { kind: 'write guest', settings } as const;
  return [...probes, writeGuest, ...(before === after ? [] : [{ kind: 'write cfg', before, after } as const])];
}

function planProbe(vm: ObservedVm, { index, address, mac }: VifSettings): ConfigureStep {
  const vif = vm.vifs.find((one) => one.index === index);
  if (vif !== undefined) return { kind: 'probe', address, mac, bridge: vif.bridge };
  throw notFound(`${vm.name} has no vif ${index} for ${formatIpv4(address)}`, { vif: `${index}` });
}

// `ip=` goes: vif-bridge makes a firewall rule of it, which drops what a guest with another address sends.
function rewriteVif(cfg: XlCfg, { index, mac }: VifSettings): XlCfg {
  const has = listVifs(cfg).find((vif) => vif.index === index);
  const isRight = has?.macAsXlReads === formatMac(mac);
  const withMac = has === undefined || isRight ? cfg : setVifParameter(cfg, index, 'mac', formatMac(mac));
  return has === undefined ? cfg : removeVifParameter(withMac, index, 'ip');
}
