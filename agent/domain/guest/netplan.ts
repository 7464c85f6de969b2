// netplan(5) with systemd-networkd behind it. The guest's own files stay as they are: netplan merges those of one id, and would
// add the new address to the old ones. An id of our own, found by MAC, becomes a file of networkd's that sorts before all that
// netplan makes of the guest's ids; of those that match a NIC, networkd takes the first alone.
import { invalid } from '../../../shared/errors.js';
import { formatIpv4, type Ipv4, parseIpv4 } from '../../../shared/domain/ipv4.js';
import { formatMac } from '../../../shared/domain/mac.js';
import type { GuestSettings, VifSettings } from '../order.js';
import type { NetworkPlan, NicOptions, StyleUse } from './guest-plan.js';
import { type GuestEdit, type GuestTree, pathsIn, planText, textOf } from './guest-tree.js';
import { networkPath, refuseEarlierNetwork } from './networkd.js';

const FOLDERS = ['/lib/netplan', '/etc/netplan'];
const PROGRAMS = ['/usr/sbin/netplan', '/lib/netplan/generate', '/usr/libexec/netplan/generate'];
const OWN = /^\/etc\/netplan\/90-domherd-vif(\d+)\.yaml$/;
/** netplan complains of files that others may read. */
const OWNERSHIP = { mode: 0o600, uid: 0, gid: 0 };

export function netplanUse(tree: GuestTree): StyleUse {
  const isInstalled = PROGRAMS.some((path) => tree.has(path));
  return isInstalled && yamlPaths(tree).length > 0 ? 'used' : 'absent';
}

/** The addresses that domherd wrote, of vifs that still have that MAC. */
export function readNetplan(tree: GuestTree, options: NicOptions): ReadonlyMap<number, Ipv4> {
  const found = yamlPaths(tree).flatMap((path) => {
    const index = Number(OWN.exec(path)?.[1] ?? NaN);
    const text = textOf(tree, path) ?? '';
    const mac = /^ +macaddress: "(\S+)"$/m.exec(text)?.[1];
    const address = /^ +addresses: \["([\d.]+)\/\d+"\]$/m.exec(text)?.[1];
    const isCurrent = index < options.vifCount && mac === (options.macs.get(index) ?? mac);
    return address === undefined || !isCurrent ? [] : [[index, parseIpv4(address)] as const];
  });
  return new Map(found);
}

/** @throws {AppError} `invalid` */
export function planNetplan(tree: GuestTree, settings: GuestSettings): NetworkPlan {
  for (const path of yamlPaths(tree)) refuseOddFile(tree, path);
  refuseEarlierNetwork(tree, '10-netplan-00-domherd');
  const edits = settings.vifs.flatMap((vif): readonly GuestEdit[] => [
    ...planText(tree, `/etc/netplan/90-domherd-vif${vif.index}.yaml`, yamlText(vif), OWNERSHIP),
    // Of the time before the guest had netplan: it would win.
    ...(tree.has(networkPath(vif.index)) ? [{ kind: 'remove', path: networkPath(vif.index) } as const] : []),
  ]);
  return { edits, nicNames: new Map() };
}

function yamlPaths(tree: GuestTree): readonly string[] {
  return FOLDERS.flatMap((folder) => pathsIn(tree, folder)).filter((path) => path.endsWith('.yaml'));
}

function refuseOddFile(tree: GuestTree, path: string): void {
  const text = textOf(tree, path);
  const oddity = text === undefined ? 'is a link, or too large' : oddityOf(text);
  if (oddity === undefined) return;
  throw invalid(`The guest's ${path} ${oddity}`, {
    hint: 'domherd serves netplan with networkd and nothing but ethernets: change it, or set the address by hand',
  });
}

/** Of the YAML no more is read than which kinds of interfaces it defines; what cannot be told so is refused. */
function oddityOf(text: string): string | undefined {
  const lines = text
    .split('\n')
    .map((line) => line.replace(/(^|\s)#.*$/, '').trimEnd())
    .filter((line) => line !== '' && line !== '---');
  const [head, ...body] = lines;
  if (head === undefined) return undefined;
  if (/renderer["']?\s*:\s*["']?NetworkManager/.test(text)) return 'has NetworkManager as its renderer';
  if (head !== 'network:') return 'does not begin with "network:" on a line of its own';
  const depth = indentOf(body[0] ?? '');
  if (body.some((line) => depth === 0 || indentOf(line) < depth)) return 'is not indented as one block';
  const kinds = body
    .filter((line) => indentOf(line) === depth)
    .map((line) => /^ *["']?([^"':]*)/.exec(line)?.[1] ?? '');
  const other = kinds.find((kind) => !['version', 'renderer', 'ethernets'].includes(kind));
  return other === undefined ? undefined : `defines "${other}"`;
}

function indentOf(line: string): number {
  return line.length - line.replace(/^ +/, '').length;
}

// The route in figures: netplan of Ubuntu 18.04 does not know the word default.
function yamlText({ index, mac, address, settings, hasDefaultRoute }: VifSettings): string {
  const { prefixLength, gateway, dns, domain } = settings;
  const nameservers = [
    ...(dns.length === 0 ? [] : [`addresses: [${dns.map((server) => quoted(formatIpv4(server))).join(', ')}]`]),
    ...(domain === '' ? [] : [`search: [${quoted(domain)}]`]),
  ];
  const ofDefault = [
    '      routes:',
    `        - {to: "0.0.0.0/0", via: ${quoted(formatIpv4(gateway))}}`,
    ...(nameservers.length === 0 ? [] : ['      nameservers:', ...nameservers.map((line) => `        ${line}`)]),
  ];
  const lines = [
    '# Written by domherd.',
    'network:',
    '  version: 2',
    '  ethernets:',
    `    00-domherd-vif${index}:`,
    '      match:',
    `        macaddress: ${quoted(formatMac(mac))}`,
    '      dhcp4: false',
    `      addresses: [${quoted(`${formatIpv4(address)}/${prefixLength}`)}]`,
    ...(hasDefaultRoute ? ofDefault : []),
  ];
  return lines.map((line) => `${line}\n`).join('');
}

function quoted(text: string): string {
  return JSON.stringify(text);
}
