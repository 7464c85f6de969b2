// systemd.network(5): of all files, sorted by name wherever they lie, the first that matches a NIC is the only one that counts.
import { invalid } from '../../../shared/errors.js';
import { formatIpv4, type Ipv4, parseIpv4 } from '../../../shared/domain/ipv4.js';
import { formatMac } from '../../../shared/domain/mac.js';
import type { GuestSettings, VifSettings } from '../order.js';
import type { NetworkPlan, NicOptions, StyleUse } from './guest-plan.js';
import { type GuestTree, pathsIn, planText, textOf } from './guest-tree.js';

const FOLDER = '/etc/systemd/network';
const UNITS = '/etc/systemd/system';
/** Each one alone starts it. */
const ENABLING = [
  `${UNITS}/multi-user.target.wants/systemd-networkd.service`,
  `${UNITS}/sockets.target.wants/systemd-networkd.socket`,
  `${UNITS}/dbus-org.freedesktop.network1.service`,
];
const OWN = /^05-domherd-vif(\d+)\.network$/;

export function networkdUse(tree: GuestTree): StyleUse {
  const unit = tree.get(`${UNITS}/systemd-networkd.service`);
  const isMasked = unit?.kind === 'link' && unit.target === '/dev/null';
  if (isMasked || !ENABLING.some((path) => tree.has(path))) return 'absent';
  return networkNames(tree).length > 0 ? 'used' : 'idle';
}

/** The addresses that domherd wrote, of vifs that still have that MAC. */
export function readNetworkd(tree: GuestTree, options: NicOptions): ReadonlyMap<number, Ipv4> {
  const found = networkNames(tree).flatMap((name) => {
    const index = Number(OWN.exec(name)?.[1] ?? NaN);
    const text = textOf(tree, `${FOLDER}/${name}`) ?? '';
    const mac = /^MACAddress=(\S+)$/m.exec(text)?.[1];
    const address = /^Address=([\d.]+)\/\d+$/m.exec(text)?.[1];
    const isCurrent = index < options.vifCount && mac === (options.macs.get(index) ?? mac);
    return address === undefined || !isCurrent ? [] : [[index, parseIpv4(address)] as const];
  });
  return new Map(found);
}

/** @throws {AppError} `invalid` */
export function planNetworkd(tree: GuestTree, settings: GuestSettings): NetworkPlan {
  refuseEarlierNetwork(tree, '05-domherd');
  refusePorts(tree);
  const edits = settings.vifs.flatMap((vif) => planText(tree, networkPath(vif.index), networkText(vif)));
  return { edits, nicNames: new Map() };
}

/** Where {@link planNetworkd} puts the settings of that vif. */
export function networkPath(index: number): string {
  return `${FOLDER}/05-domherd-vif${index}.network`;
}

/** Refuses a file of the guest's own that would be asked before one of that name. @throws {AppError} `invalid` */
export function refuseEarlierNetwork(tree: GuestTree, name: string): void {
  const earlier = networkNames(tree).find((each) => each < name && !OWN.test(each));
  if (earlier === undefined) return;
  throw invalid(`The guest's ${FOLDER}/${earlier} would be taken before the one that domherd writes`, {
    hint: `give it a name that sorts after ${name}, or set the address by hand`,
  });
}

function refusePorts(tree: GuestTree): void {
  const isOfPort = /^\s*(Bridge|Bond|VLAN|VRF|MACVLAN|MACVTAP|IPVLAN|IPVTAP|VXLAN|BatmanAdvanced)\s*=/m;
  const name = networkNames(tree).find((each) => isOfPort.test(textOf(tree, `${FOLDER}/${each}`) ?? ''));
  if (name === undefined) return;
  throw invalid(`The guest's ${FOLDER}/${name} builds a bridge, bond or VLAN on a NIC`, {
    hint: 'domherd writes plain NICs: take it away, or set the address by hand',
  });
}

function networkNames(tree: GuestTree): readonly string[] {
  return pathsIn(tree, FOLDER)
    .map((path) => path.slice(FOLDER.length + 1))
    .filter((name) => name.endsWith('.network'));
}

function networkText({ mac, address, settings, hasDefaultRoute }: VifSettings): string {
  const { prefixLength, gateway, dns, domain } = settings;
  const ofDefault = [
    `Gateway=${formatIpv4(gateway)}`,
    ...dns.map((server) => `DNS=${formatIpv4(server)}`),
    ...(domain === '' ? [] : [`Domains=${domain}`]),
  ];
  const lines = [
    '# Written by domherd.',
    '[Match]',
    `MACAddress=${formatMac(mac)}`,
    '',
    '[Network]',
    `Address=${formatIpv4(address)}/${prefixLength}`,
    ...(hasDefaultRoute ? ofDefault : []),
  ];
  return lines.map((line) => `${line}\n`).join('');
}
