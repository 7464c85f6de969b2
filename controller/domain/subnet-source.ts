import type { AddressRange } from '../../shared/domain/address-range.js';
import { cidrContains, cidrOf, formatCidr, lastAddress, parseCidr, type Cidr } from '../../shared/domain/cidr.js';
import { formatIpv4, ipv4FromNumber, type Ipv4 } from '../../shared/domain/ipv4.js';
import type { Mac } from '../../shared/domain/mac.js';
import type { ReservationSource } from './reservation.js';

/** What a source tells about the NICs of VMs; what is `undefined` must be asked of the user. */
export interface SourceSettings {
  readonly prefix?: number;
  readonly broadcast?: Ipv4;
  readonly gateway?: Ipv4;
  readonly dns: readonly Ipv4[];
  readonly domain?: string;
}

/** Something assumed or odd, for people. */
export interface SourceWarning {
  /** Counted from 1; absent if it is about the whole source. */
  readonly line?: number;
  readonly text: string;
}

/** What a text of reserved subnets says. The pool is that of `cidrs` and `addresses` together. */
export interface SubnetSource {
  readonly source: ReservationSource;
  readonly cidrs: readonly Cidr[];
  readonly addresses: readonly Ipv4[];
  /** The MAC column, if there is one. */
  readonly macs?: ReadonlyMap<Ipv4, Mac>;
  /** What it says by itself. */
  readonly told: SourceSettings;
  /** The same with what follows from it, or is assumed. */
  readonly settings: SourceSettings;
  readonly warnings: readonly SourceWarning[];
}

/** Each Grid'5000 site has one /14 of 10.0.0.0/8 for virtual machines; its gateway is the last but one address. */
export const SITE_PREFIX = 14;
export const TESTBED = parseCidr('10.0.0.0/8');

/**
 * Fills in what the source did not say. Prefix and gateway are assumed (and warned of) only when all addresses lie in one
 * site's /14; the broadcast address follows from the prefix.
 *
 * @param ranges all reserved addresses, at least one range
 */
export function completeSettings(
  given: SourceSettings,
  ranges: readonly AddressRange[],
): { settings: SourceSettings; warnings: SourceWarning[] } {
  const site = siteAround(ranges, given.gateway);
  const prefix = given.prefix ?? site?.prefix;
  const network = networkOf(ranges, prefix);
  const isSite = site !== undefined && prefix === SITE_PREFIX;
  const gateway = given.gateway ?? (isSite ? ipv4FromNumber(lastAddress(site) - 1) : undefined);
  const broadcast = given.broadcast ?? (network === undefined ? undefined : lastAddress(network));
  const settings: SourceSettings = {
    ...given,
    ...(prefix !== undefined && { prefix }),
    ...(gateway !== undefined && { gateway }),
    ...(broadcast !== undefined && { broadcast }),
  };
  return { settings, warnings: [...assumed(given, settings, network), ...contradictions(settings, network)] };
}

/** The one site network that holds all ranges, and the gateway if there is one. */
function siteAround(ranges: readonly AddressRange[], gateway: Ipv4 | undefined): Cidr | undefined {
  const site = networkOf(ranges, SITE_PREFIX);
  if (site === undefined || !cidrContains(TESTBED, site.network)) return undefined;
  const inside = ranges.every((range) => cidrContains(site, range.first) && cidrContains(site, range.last));
  return inside && (gateway === undefined || cidrContains(site, gateway)) ? site : undefined;
}

function networkOf(ranges: readonly AddressRange[], prefix: number | undefined): Cidr | undefined {
  const first = ranges[0]?.first;
  return first === undefined || prefix === undefined ? undefined : cidrOf(first, prefix);
}

function assumed(given: SourceSettings, full: SourceSettings, network: Cidr | undefined): SourceWarning[] {
  const parts: string[] = [];
  if (given.prefix === undefined && network !== undefined) parts.push(`network ${formatCidr(network)}`);
  if (given.gateway === undefined && full.gateway !== undefined) parts.push(`gateway ${formatIpv4(full.gateway)}`);
  if (parts.length === 0) return [];
  return [{ text: `the source does not tell all settings; assumed, as on every Grid'5000 site: ${parts.join(', ')}` }];
}

function contradictions(settings: SourceSettings, network: Cidr | undefined): SourceWarning[] {
  if (network === undefined) return [];
  const { broadcast, gateway } = settings;
  const texts: string[] = [];
  if (broadcast !== undefined && broadcast !== lastAddress(network)) {
    texts.push(`the broadcast address ${formatIpv4(broadcast)} is not the last of ${formatCidr(network)}`);
  }
  if (gateway !== undefined && !cidrContains(network, gateway)) {
    texts.push(`the gateway ${formatIpv4(gateway)} is not in ${formatCidr(network)}`);
  }
  return texts.map((text) => ({ text }));
}
