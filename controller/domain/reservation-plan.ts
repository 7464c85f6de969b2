import {
  formatRange,
  intersectRanges,
  normalizeRanges,
  subtractRanges,
  type AddressRange,
} from '../../shared/domain/address-range.js';
import { cidrContains, cidrOf } from '../../shared/domain/cidr.js';
import type { Ipv4 } from '../../shared/domain/ipv4.js';
import { parseReservationName } from '../../shared/domain/name.js';
import { AppError, invalid, wrongState } from '../../shared/errors.js';
import type { G5kJobSource } from './g5k-api.js';
import { formatInstant } from './instant.js';
import { buildPool, usableOf } from './pool.js';
import type { InterfaceSettings, Reservation, ReservationData } from './reservation.js';
import { completeSettings, type SourceSettings, type SourceWarning, type SubnetSource } from './subnet-source.js';

/** What the user says; each that is set wins over the source. */
export interface ImportOptions {
  readonly name?: string | undefined;
  readonly startsAtMs?: number | undefined;
  readonly endsAtMs?: number | undefined;
  /** 1 to 30. */
  readonly prefix?: number | undefined;
  readonly broadcast?: Ipv4 | undefined;
  readonly gateway?: Ipv4 | undefined;
  /** Empty: not set. */
  readonly dns: readonly Ipv4[];
  /** "" is: none. */
  readonly domain?: string | undefined;
  readonly exclusions: readonly AddressRange[];
  readonly user?: string | undefined;
  readonly site?: string | undefined;
  readonly jobId?: string | undefined;
}

export type ImportSource = SubnetSource & G5kJobSource;

export interface ReservationPlan {
  readonly data: ReservationData;
  /** For people: what was assumed or looks odd. */
  readonly warnings: readonly string[];
}

/** @throws {AppError} `invalid` if neither user nor source tells a name, or it is malformed */
export function planName(source: ImportSource, options: ImportOptions): string {
  const jobId = options.jobId ?? source.jobId;
  const name = options.name ?? (jobId === undefined ? undefined : `job-${jobId}`);
  if (name !== undefined) return parseReservationName(name);
  throw invalid('the reservation has no name', { field: 'name', hint: 'give a name, or the job id to name it after' });
}

/**
 * What a reservation is to be, from its source, the user's word, and what it is already.
 *
 * @param before the reservation of this name, if there is one: what neither user nor source tells stays as it is
 * @throws {AppError} `invalid` if settings or the end are missing or make no sense; `wrong_state` if it is over already
 */
export function planReservation(
  name: string,
  source: ImportSource,
  options: ImportOptions,
  before: ReservationData | undefined,
  nowMs: number,
): ReservationPlan {
  const ranges = usableOf(source);
  const { settings, warnings } = planSettings(source, options, ranges, before);
  const data: ReservationData = {
    name,
    source: source.source,
    user: options.user ?? source.user ?? before?.user,
    site: options.site ?? source.site ?? before?.site,
    jobId: options.jobId ?? source.jobId ?? before?.jobId,
    ...planTimes(source, options, before, nowMs),
    settings,
    ranges,
    exclusions: planExclusions(
      settings,
      options.exclusions.length > 0 ? options.exclusions : (before?.exclusions ?? []),
    ),
  };
  if (buildPool(data.ranges, data.exclusions).size === 0) throw emptyPool();
  return { data, warnings: warnings.map(formatWarning) };
}

/**
 * @throws {AppError} `invalid` if the end is not after the start
 */
export function checkPeriod(startsAtMs: number, endsAtMs: number): void {
  if (endsAtMs > startsAtMs) return;
  throw invalid(
    `the reservation ends at ${formatInstant(endsAtMs)}, not after its start at ${formatInstant(startsAtMs)}`,
    {
      field: 'ends_at',
    },
  );
}

/** The first other reservation that has some of the same addresses at some of the same time. */
export function findOverlap(
  data: ReservationData,
  others: readonly Reservation[],
): { readonly other: Reservation; readonly range: AddressRange } | undefined {
  for (const other of others) {
    if (data.startsAtMs >= other.endsAtMs || other.startsAtMs >= data.endsAtMs) continue;
    const [range] = intersectRanges(data.ranges, other.ranges);
    if (range !== undefined) return { other, range };
  }
  return undefined;
}

/** @throws {AppError} `already_exists` naming both and the addresses */
export function refuseOverlap(data: ReservationData, others: readonly Reservation[]): void {
  const overlap = findOverlap(data, others);
  if (overlap === undefined) return;
  const { other, range } = overlap;
  const shared = formatRange(range);
  const period = `${formatInstant(other.startsAtMs)} to ${formatInstant(other.endsAtMs)}`;
  throw new AppError(
    'already_exists',
    `reservation "${data.name}" and reservation "${other.name}" (${period}) both have ${shared}`,
    {
      reservation: data.name,
      by: other.name,
      range: shared,
      hint: `import under the name ${other.name} if it is the same reservation, or delete that one first`,
    },
  );
}

/** Addresses that could be leased before and cannot any more. */
export function lostRanges(before: ReservationData, after: ReservationData): AddressRange[] {
  return subtractRanges(
    subtractRanges(before.ranges, before.exclusions),
    subtractRanges(after.ranges, after.exclusions),
  );
}

/** Whether an import would change nothing. How the source was written does not count. */
export function isSameReservation(a: ReservationData, b: ReservationData): boolean {
  return contentOf(a) === contentOf(b);
}

function contentOf(data: ReservationData): string {
  const { name, user, site, jobId, startsAtMs, endsAtMs, ranges, exclusions, settings } = data;
  const { prefix, broadcast, gateway, dns, domain } = settings;
  const pairs = (all: readonly AddressRange[]): number[][] => all.map(({ first, last }) => [first, last]);
  const fields = [name, user, site, jobId, startsAtMs, endsAtMs, prefix, broadcast, gateway, dns, domain];
  return JSON.stringify([fields, pairs(ranges), pairs(exclusions)]);
}

function planTimes(
  source: ImportSource,
  options: ImportOptions,
  before: ReservationData | undefined,
  nowMs: number,
): Pick<ReservationData, 'startsAtMs' | 'endsAtMs'> {
  const endsAtMs = options.endsAtMs ?? source.endsAtMs ?? before?.endsAtMs;
  if (endsAtMs === undefined) {
    throw invalid('the end of the reservation is unknown: its source does not tell it', {
      field: 'ends_at',
      hint: 'give the end of the job, with --ends HH:MM or --ends +2h',
    });
  }
  // The past end first: an import with a start of "now" would call it a wrong order.
  if (endsAtMs <= nowMs) throw alreadyOver(endsAtMs);
  const startsAtMs = options.startsAtMs ?? source.startsAtMs ?? before?.startsAtMs ?? nowMs;
  checkPeriod(startsAtMs, endsAtMs);
  return { startsAtMs, endsAtMs };
}

function alreadyOver(endsAtMs: number): AppError {
  return wrongState(
    `the reservation is over since ${formatInstant(endsAtMs)}: its addresses may be somebody else's by now`,
    {
      field: 'ends_at',
      endsAt: formatInstant(endsAtMs),
      hint: 'check the end and the job id; an old list of addresses belongs to an old job',
    },
  );
}

function planSettings(
  source: ImportSource,
  options: ImportOptions,
  ranges: readonly AddressRange[],
  before: ReservationData | undefined,
): { settings: InterfaceSettings; warnings: readonly SourceWarning[] } {
  // Before a network is made of it: a caller over gRPC may send any number.
  if (options.prefix !== undefined) checkPrefix(options.prefix);
  const known = before !== undefined && isSameNetwork(before.settings, ranges) ? before.settings : NOTHING;
  const given = overlay(overlay(known, source.told), options);
  const completed = completeSettings(given, ranges);
  const { prefix, gateway, broadcast, dns, domain } = completed.settings;
  if (prefix === undefined || gateway === undefined || broadcast === undefined)
    throw missingSettings(completed.settings);
  checkPrefix(prefix);
  const aboutLines = source.warnings.filter(({ line }) => line !== undefined);
  return {
    settings: { prefix, broadcast, gateway, dns, domain: domain === '' ? undefined : domain },
    warnings: [...aboutLines, ...completed.warnings],
  };
}

const NOTHING: SourceSettings = { dns: [] };

/** A name may be used again for another job: at another site nothing of the former settings holds. */
function isSameNetwork({ gateway, prefix }: InterfaceSettings, ranges: readonly AddressRange[]): boolean {
  const network = cidrOf(gateway, prefix);
  return ranges.every(({ first, last }) => cidrContains(network, first) && cidrContains(network, last));
}

type PartialSettings = Pick<ImportOptions, 'prefix' | 'broadcast' | 'gateway' | 'dns' | 'domain'>;

/** What `upper` says wins. A broadcast address belongs to its prefix. */
function overlay(lower: PartialSettings, upper: PartialSettings): SourceSettings {
  const prefix = upper.prefix ?? lower.prefix;
  const broadcast = upper.broadcast ?? (prefix === lower.prefix ? lower.broadcast : undefined);
  const gateway = upper.gateway ?? lower.gateway;
  const domain = upper.domain ?? lower.domain;
  return {
    ...(prefix !== undefined && { prefix }),
    ...(broadcast !== undefined && { broadcast }),
    ...(gateway !== undefined && { gateway }),
    ...(domain !== undefined && { domain }),
    dns: upper.dns.length > 0 ? upper.dns : lower.dns,
  };
}

function checkPrefix(prefix: number): void {
  if (Number.isInteger(prefix) && prefix >= 1 && prefix <= 30) return;
  throw invalid(`the prefix length is ${String(prefix)}: 1 to 30 is expected`, {
    field: 'prefix_length',
    hint: "give that of the whole site's network, on Grid'5000 14",
  });
}

function missingSettings(settings: SourceSettings): AppError {
  const unknown = [
    ...(settings.prefix === undefined ? ['prefix length'] : []),
    ...(settings.gateway === undefined ? ['gateway'] : []),
    ...(settings.prefix !== undefined && settings.broadcast === undefined ? ['broadcast address'] : []),
  ].join(' and ');
  return invalid(`the source does not tell the ${unknown} of the network that the VMs are in`, {
    missing: unknown,
    hint: `g5k-subnets -a tells it; else --prefix and --gateway: those of the whole site's network, not of the reserved block`,
  });
}

function planExclusions(settings: InterfaceSettings, own: readonly AddressRange[]): AddressRange[] {
  const single = [settings.gateway, settings.broadcast, ...settings.dns];
  return normalizeRanges([...single.map((address) => ({ first: address, last: address })), ...own]);
}

function emptyPool(): AppError {
  return invalid('the reservation has no address to give: all of them are excluded or edges of blocks', {
    hint: 'check the source and the exclusions',
  });
}

function formatWarning({ line, text }: SourceWarning): string {
  return line === undefined ? text : `line ${String(line)}: ${text}`;
}
