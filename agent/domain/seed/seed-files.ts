// What a NoCloud seed disk holds: cloud-init of a guest reads it at each boot, and does its work anew for a new instance-id.
//
// Invariants:
// - The instance-id never comes again for one disk: it counts. Equal content keeps it, so that writing twice changes nothing.
// - What the user gave is byte for byte what cloud-init gets; what domherd has to say stands in files of its own.
// - Our own files are JSON, which is YAML too: what was written can be read back exactly.
import { formatIpv4, parseIpv4, type Ipv4 } from '../../../shared/domain/ipv4.js';
import { formatMac } from '../../../shared/domain/mac.js';
import type { GuestSettings, VifSettings } from '../order.js';

/** Of the file system: cloud-init looks for this name. */
export const SEED_LABEL = 'cidata';

/** What the disk is to its guest: beyond all that a VM has otherwise. */
export const SEED_VDEV = 'xvdz';

/** The files of a seed by name; `undefined`: there is none. */
export interface SeedFiles {
  readonly metaData: string;
  readonly userData: string;
  readonly vendorData: string;
  readonly networkConfig: string | undefined;
}

export interface NewSeed {
  readonly name: string;
  /** Lines of an authorized_keys file. */
  readonly authorizedKeys: readonly string[];
  /** `undefined`: nothing of the user's own. */
  readonly userData: string | undefined;
}

interface MetaData {
  readonly 'instance-id': string;
  readonly 'local-hostname'?: string;
  readonly 'public-keys'?: readonly string[];
}

/**
 * Version 1 is what cloud-init translates for every guest. Of version 2 ifupdown gets default routes by route(8), which few guests
 * have, and netplan the file as it is, in words that it may not know yet or no longer.
 */
interface NetworkConfig {
  readonly version: 1;
  readonly config: readonly Nic[];
}

interface Nic {
  readonly type: 'physical';
  readonly name: string;
  readonly mac_address: string;
  readonly subnets: readonly [Subnet];
}

interface Subnet {
  readonly type: 'static';
  readonly address: string;
  readonly gateway?: string;
  readonly dns_nameservers?: readonly string[];
  readonly dns_search?: readonly string[];
}

const ID_PREFIX = 'domherd-';

/** Cloud images close root's account, which is the one that domherd logs in to. */
const VENDOR_DATA = '#cloud-config\ndisable_root: false\n';
const NO_USER_DATA = '#cloud-config\n{}\n';

/** Of a VM that has no addresses yet. */
export function newSeed({ name, authorizedKeys, userData }: NewSeed): SeedFiles {
  const metaData: MetaData = {
    'instance-id': instanceId(name, 1),
    'local-hostname': name,
    ...(authorizedKeys.length > 0 && { 'public-keys': authorizedKeys }),
  };
  return {
    metaData: format(metaData),
    userData: userData ?? NO_USER_DATA,
    vendorData: VENDOR_DATA,
    networkConfig: undefined,
  };
}

/**
 * The seed with these addresses. What is there already stays: vifs that are not named, keys, the user's own.
 *
 * @param name of the VM
 */
export function addressSeed(seed: SeedFiles, name: string, { vifs, hostname }: GuestSettings): SeedFiles {
  const before = nicsOf(seed);
  // One that is given again keeps its place.
  const nics = new Map([...before, ...vifs.map(nicOf)].map((nic) => [nic.name, nic]));
  const network: NetworkConfig = { version: 1, config: [...nics.values()] };
  const meta = metaOf(seed);
  const named = hostname === undefined ? meta : { ...meta, 'local-hostname': hostname };
  const networkConfig = format(network);
  if (networkConfig === seed.networkConfig && format(named) === seed.metaData) return seed;
  return { ...seed, metaData: format(withNextId(named, name)), networkConfig };
}

/**
 * The seed of a copy: another instance, without the source's addresses.
 *
 * @param copy its keys come besides those that the source has; its user data, if there is any, in the place of the source's
 */
export function renewSeed(seed: SeedFiles, copy: NewSeed): SeedFiles {
  const { name, authorizedKeys, userData = seed.userData } = copy;
  const before = metaOf(seed);
  const keys = [...new Set([...(before['public-keys'] ?? []), ...authorizedKeys])];
  const named = { ...before, 'local-hostname': name, ...(keys.length > 0 && { 'public-keys': keys }) };
  const meta = withNextId(named, name);
  return { ...seed, userData, metaData: format(meta), networkConfig: undefined };
}

/** Whether domherd made it, and nobody has made it another since. */
export function isOwnSeed(seed: SeedFiles): boolean {
  return metaOf(seed)['instance-id'].startsWith(ID_PREFIX);
}

/** What the seed tells the guest. */
export function readSeed(seed: SeedFiles): {
  readonly addresses: ReadonlyMap<number, Ipv4>;
  readonly hostname: string | undefined;
} {
  const entries = nicsOf(seed).flatMap(({ name, subnets: [subnet] }) => {
    const index = /^eth(\d+)$/.exec(name)?.[1];
    const address = subnet.address.split('/')[0];
    return index === undefined || address === undefined ? [] : [[Number(index), parseIpv4(address)] as const];
  });
  return { addresses: new Map(entries), hostname: metaOf(seed)['local-hostname'] };
}

function nicOf({ index, mac, address, settings, hasDefaultRoute }: VifSettings): Nic {
  const { prefixLength, gateway, dns, domain } = settings;
  const subnet: Subnet = {
    type: 'static',
    address: `${formatIpv4(address)}/${prefixLength}`,
    ...(hasDefaultRoute && { gateway: formatIpv4(gateway) }),
    ...(dns.length > 0 && { dns_nameservers: dns.map(formatIpv4) }),
    ...(domain !== '' && { dns_search: [domain] }),
  };
  return { type: 'physical', name: `eth${index}`, mac_address: formatMac(mac).toLowerCase(), subnets: [subnet] };
}

function withNextId(meta: MetaData, name: string): MetaData {
  const count = Number(/-(\d{1,9})$/.exec(meta['instance-id'])?.[1] ?? 0);
  return { ...meta, 'instance-id': instanceId(name, count + 1) };
}

function instanceId(name: string, count: number): string {
  return `${ID_PREFIX}${name}-${count}`;
}

function format(value: object): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

// The guest may write to the disk: what is no longer as domherd wrote it counts as nothing.
function metaOf({ metaData }: SeedFiles): MetaData {
  const meta = parse(metaData);
  const [id, name, keys] = [meta['instance-id'], meta['local-hostname'], meta['public-keys']];
  const isListOfText = Array.isArray(keys) && keys.every((key) => typeof key === 'string');
  return {
    'instance-id': typeof id === 'string' ? id : '',
    ...(typeof name === 'string' && { 'local-hostname': name }),
    ...(isListOfText && { 'public-keys': keys }),
  };
}

function nicsOf({ networkConfig }: SeedFiles): readonly Nic[] {
  const { version, config } = parse(networkConfig ?? '{}');
  return version === 1 && Array.isArray(config) && config.every(isNic) ? config : [];
}

function isNic(value: unknown): value is Nic {
  if (!isObject(value) || !isText(value['name']) || !Array.isArray(value['subnets'])) return false;
  const [subnet] = value['subnets'] as readonly unknown[];
  return isObject(subnet) && isText(subnet['address']);
}

function parse(text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : {};
  } catch {
    return {};
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}

function isText(value: unknown): value is string {
  return typeof value === 'string';
}
