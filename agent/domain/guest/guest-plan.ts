import { invalid } from '../../../shared/errors.js';
import type { Ipv4 } from '../../../shared/domain/ipv4.js';
import type { GuestSettings } from '../order.js';
import { type GuestEdit, type GuestTree, pathsIn, planText, textOf } from './guest-tree.js';
import { readHostKeys } from './host-key.js';
import { ifupdownUse, planIfupdown, readIfupdown } from './ifupdown.js';
import { netplanUse, planNetplan, readNetplan } from './netplan.js';
import { networkdUse, planNetworkd, readNetworkd } from './networkd.js';
import { setHosts, setPersistentNetRules, setResolvConf } from './shared-files.js';
import { secretWarnings } from './guest-secret.js';

export interface GuestPlan {
  readonly edits: readonly GuestEdit[];
  /** For people: what is wrong with this guest and was not changed. */
  readonly warnings: readonly string[];
}

/** What a way of bringing interfaces up makes of the settings. */
export interface NetworkPlan {
  readonly edits: readonly GuestEdit[];
  /** What the guest calls its NICs, by vif index; none for those that it finds by MAC. */
  readonly nicNames: ReadonlyMap<number, string>;
}

/** `used`: it brings interfaces of this guest up; `idle`: it would, if it were told of any. */
export type StyleUse = 'used' | 'idle' | 'absent';

/** How a guest brings its interfaces up. */
export interface NetworkStyle {
  readonly name: string;
  useIn(tree: GuestTree): StyleUse;
  /** The static addresses by vif index. */
  read(tree: GuestTree, options: NicOptions): ReadonlyMap<number, Ipv4>;
  /** @throws {AppError} `invalid` if the guest's files are not understood */
  plan(tree: GuestTree, settings: GuestSettings, options: NicOptions): NetworkPlan;
}

/** What the cfg says of the guest's NICs. */
export interface NicOptions {
  readonly vifCount: number;
  /** MACs of the cfg by vif index, six pairs of lower case hex digits with colons. */
  readonly macs: ReadonlyMap<number, string>;
  /** The kernel's command line, as far as the cfg has it. */
  readonly kernelLine: string;
}

/** What a guest's own files say. */
export interface GuestFacts {
  readonly addresses: ReadonlyMap<number, Ipv4>;
  readonly hostname: string | undefined;
  /** As {@link readHostKeys}; `undefined`: none. */
  readonly hostKeys?: readonly string[] | undefined;
}

const HOSTNAME = '/etc/hostname';
const HOSTS = '/etc/hosts';
const RESOLV_CONF = '/etc/resolv.conf';
const NET_RULES = '/etc/udev/rules.d/70-persistent-net.rules';
const CLOUD_FOLDER = '/etc/cloud';
const CLOUD_OFF = '/etc/cloud/cloud.cfg.d/99-domherd.cfg';

const NETPLAN: NetworkStyle = { name: 'netplan', useIn: netplanUse, read: readNetplan, plan: planNetplan };
const NETWORKD: NetworkStyle = { name: 'systemd-networkd', useIn: networkdUse, read: readNetworkd, plan: planNetworkd };
const IFUPDOWN: NetworkStyle = { name: 'ifupdown', useIn: ifupdownUse, read: readIfupdown, plan: planIfupdown };
/** In the order of precedence of those that are idle. */
const STYLES: readonly NetworkStyle[] = [NETPLAN, NETWORKD, IFUPDOWN];

/** `undefined` if the guest is of no known kind, or of several. */
export function readGuest(tree: GuestTree, options: NicOptions): GuestFacts | undefined {
  const [style, other] = stylesIn(tree);
  if (style === undefined || other !== undefined) return undefined;
  const hostKeys = readHostKeys(tree);
  const facts = { addresses: style.read(tree, options), hostname: hostnameOf(tree) };
  return hostKeys.length === 0 ? facts : { ...facts, hostKeys };
}

/**
 * The edits that give a stopped guest its addresses, DNS and hostname; none if all is so already.
 *
 * @throws {AppError} `invalid`, with a hint, for a guest that cannot be served
 */
export function planGuest(tree: GuestTree, settings: GuestSettings, options: NicOptions): GuestPlan {
  const style = styleOf(tree);
  const network = style.plan(tree, settings, options);
  const nics = settings.vifs.flatMap(({ index, mac }) => {
    const name = network.nicNames.get(index);
    return name === undefined ? [] : [{ name, mac }];
  });
  const rules = textOf(tree, NET_RULES);
  const edits = [
    ...network.edits,
    ...planResolvConf(tree, settings),
    ...planNames(tree, settings, style.read(tree, options)),
    ...(rules === undefined ? [] : planText(tree, NET_RULES, setPersistentNetRules(rules, nics))),
    ...planCloudInit(tree, settings),
  ];
  return { edits, warnings: secretWarnings(tree) };
}

function styleOf(tree: GuestTree): NetworkStyle {
  const [style, other] = stylesIn(tree);
  if (style !== undefined && other !== undefined) {
    throw invalid(`The guest brings interfaces up by both ${style.name} and ${other.name}`, {
      hint: `leave one: remove ${other.name} or its stanzas but lo, or the files of ${style.name}`,
    });
  }
  if (style !== undefined) return style;
  if (!tree.has('/etc')) throw invalid('The disk holds no /etc', { hint: 'look at root= and disk= of the cfg' });
  if (tree.has('/usr/sbin/NetworkManager') || pathsIn(tree, '/etc/NetworkManager/system-connections').length > 0) {
    throw invalid('The guest brings its interfaces up by NetworkManager alone, which domherd does not write', {
      hint: 'install ifupdown or enable systemd-networkd in the guest, or set its address by hand',
    });
  }
  const system = /^PRETTY_NAME="?([^"\n]*)/m.exec(osRelease(tree))?.[1] ?? 'not known';
  throw invalid(`The guest has neither ifupdown, netplan nor systemd-networkd; its system is ${system}`, {
    hint: 'set its address by hand, or give it DHCP',
  });
}

/** More than one only if it cannot be told which of them has the guest's NICs. */
function stylesIn(tree: GuestTree): readonly NetworkStyle[] {
  const used = STYLES.filter((style) => style.useIn(tree) === 'used');
  if (used.length === 0) return STYLES.filter((style) => style.useIn(tree) === 'idle').slice(0, 1);
  // netplan writes the files of networkd.
  return used.includes(NETPLAN) ? used.filter((style) => style !== NETWORKD) : used;
}

export function osRelease(tree: GuestTree): string {
  return textOf(tree, '/etc/os-release') ?? textOf(tree, '/usr/lib/os-release') ?? '';
}

function hostnameOf(tree: GuestTree): string | undefined {
  const name = textOf(tree, HOSTNAME)
    ?.split('\n')
    .map((line) => line.trim())
    .find((line) => line !== '' && !line.startsWith('#'));
  return name === '' ? undefined : name;
}

// A link into /run is kept: whoever writes that file is told of the servers by the interface's own settings.
function planResolvConf(tree: GuestTree, { vifs }: GuestSettings): readonly GuestEdit[] {
  const vif = vifs.find(({ hasDefaultRoute }) => hasDefaultRoute);
  const node = tree.get(RESOLV_CONF);
  const isGenerated = node?.kind === 'link' && /(^|\/)(run|resolvconf|systemd)\//.test(node.target);
  if (vif === undefined || vif.settings.dns.length === 0 || isGenerated) return [];
  const edits = planText(tree, RESOLV_CONF, setResolvConf(textOf(tree, RESOLV_CONF) ?? '', vif.settings));
  return node?.kind === 'link' ? [{ kind: 'remove', path: RESOLV_CONF }, ...edits] : edits;
}

function planNames(tree: GuestTree, settings: GuestSettings, former: ReadonlyMap<number, Ipv4>): readonly GuestEdit[] {
  const formerHostname = hostnameOf(tree);
  const hostname = settings.hostname ?? formerHostname;
  const ordered = [...settings.vifs].sort((a, b) => Number(b.hasDefaultRoute) - Number(a.hasDefaultRoute));
  const domain = ordered[0]?.settings.domain ?? '';
  const rename =
    settings.hostname === undefined || settings.hostname === formerHostname
      ? []
      : planText(tree, HOSTNAME, `${settings.hostname}\n`);
  if (hostname === undefined || tree.get(HOSTS)?.kind === 'link') return rename;
  const addresses = ordered.map(({ address }) => address);
  const formerAddresses = ordered.map(({ index }) => former.get(index));
  const hosts = setHosts(textOf(tree, HOSTS) ?? '127.0.0.1\tlocalhost\n', {
    hostname: hostname.split('.')[0] ?? hostname,
    domain,
    formerHostname: formerHostname?.split('.')[0],
    addresses,
    formerAddresses,
  });
  return [...rename, ...planText(tree, HOSTS, hosts)];
}

// cloud-init would write the network anew at the next boot, and the hostname of its own data.
function planCloudInit(tree: GuestTree, { hostname }: GuestSettings): readonly GuestEdit[] {
  if (tree.get('/etc/cloud/cloud.cfg') === undefined && tree.get(CLOUD_FOLDER) === undefined) return [];
  if (tree.has('/etc/cloud/cloud-init.disabled')) return [];
  const names = hostname === undefined ? '' : 'preserve_hostname: true\nmanage_etc_hosts: false\n';
  return planText(tree, CLOUD_OFF, `# Written by domherd.\nnetwork: {config: disabled}\n${names}`);
}
