// The files that every guest has, whatever brings its interfaces up.
import { formatIpv4, type Ipv4 } from '../../../shared/domain/ipv4.js';
import { formatMac, type Mac } from '../../../shared/domain/mac.js';
import type { InterfaceSettings } from '../order.js';

/** Comments and options stay; an empty list of servers changes nothing. */
export function setResolvConf(text: string, { dns, domain }: Pick<InterfaceSettings, 'dns' | 'domain'>): string {
  if (dns.length === 0) return text;
  const kept = linesOf(text).filter((line) => !/^\s*(nameserver|search|domain)\b/.test(line));
  const search = domain === '' ? [] : [`search ${domain}`];
  return [...kept, ...search, ...dns.map((server) => `nameserver ${formatIpv4(server)}`)]
    .map((line) => `${line}\n`)
    .join('');
}

export interface HostsChange {
  readonly hostname: string;
  /** Empty: none. */
  readonly domain: string;
  /** What the host was called; its other names stay. */
  readonly formerHostname: string | undefined;
  /** First the one that the name stands for; none: only what 127.0.1.1 is called may change. */
  readonly addresses: readonly Ipv4[];
  /** Those that the guest had: their lines become those of the new ones. */
  readonly formerAddresses: readonly (Ipv4 | undefined)[];
}

/**
 * The lines of `/etc/hosts` of this host itself: that of 127.0.1.1, if there is one, and that of its first address. Other
 * lines stay, those of its former addresses go.
 */
export function setHosts(text: string, change: HostsChange): string {
  const [first] = change.addresses;
  const own = new Set([...change.addresses, ...change.formerAddresses].map((each) => each && formatIpv4(each)));
  const names = [...(change.domain === '' ? [] : [`${change.hostname}.${change.domain}`]), change.hostname];
  const former = change.formerHostname === change.hostname ? undefined : change.formerHostname;
  if (first === undefined && former === undefined) return text;
  const isFormer = (name: string): boolean =>
    former !== undefined && (name === former || name.startsWith(`${former}.`));
  const lines: string[] = [];
  let hasAddress = false;
  for (const line of linesOf(text)) {
    const [address, ...rest] = line.replace(/#.*/, '').trim().split(/\s+/);
    const isOwn = own.has(address);
    if (isOwn && hasAddress) continue;
    if (isOwn || address === '127.0.1.1') {
      const others = rest.filter(
        (name) => !names.includes(name) && !isFormer(name) && !isOldFqdn(name, change.hostname),
      );
      lines.push(
        `${isOwn && first !== undefined ? formatIpv4(first) : '127.0.1.1'}\t${[...names, ...others].join(' ')}`,
      );
      hasAddress ||= isOwn;
    } else lines.push(line);
  }
  if (!hasAddress && first !== undefined) lines.push(`${formatIpv4(first)}\t${names.join(' ')}`);
  return lines.map((line) => `${line}\n`).join('');
}

/** A name of this host in the domain of another reservation. */
function isOldFqdn(name: string, hostname: string): boolean {
  return name.startsWith(`${hostname}.`);
}

export interface NamedNic {
  readonly name: string;
  readonly mac: Mac;
}

/**
 * Takes the lines out of udev's 70-persistent-net.rules that would give one of these NICs another name, or its name to
 * another MAC: an image that saw another MAC once would else come up with eth1.
 */
export function setPersistentNetRules(text: string, nics: readonly NamedNic[]): string {
  const isWrong = (line: string): boolean => {
    const mac = /ATTR\{address\}=="([^"]*)"/.exec(line)?.[1]?.toLowerCase();
    const name = /\bNAME="([^"]*)"/.exec(line)?.[1];
    if (/^\s*#/.test(line) || mac === undefined || name === undefined) return false;
    return nics.some((nic) => (nic.name === name) !== (formatMac(nic.mac) === mac));
  };
  return text
    .split(/(?<=\n)/)
    .filter((line) => !isWrong(line))
    .join('');
}

function linesOf(text: string): readonly string[] {
  return (text.endsWith('\n') ? text.slice(0, -1) : text)
    .split('\n')
    .filter((line, n, all) => all.length > 1 || line !== '');
}
