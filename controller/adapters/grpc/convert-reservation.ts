import { formatRange, type AddressRange } from '../../../shared/domain/address-range.js';
import { firstAddress, lastAddress, parseCidr } from '../../../shared/domain/cidr.js';
import { formatIpv4, parseIpv4 } from '../../../shared/domain/ipv4.js';
import { parseHostName, parseOwnerName } from '../../../shared/domain/name.js';
import { invalid } from '../../../shared/errors.js';
import {
  ImportReservationResponse_Change as WireChange,
  ReservationPhase as WirePhase,
  type ImportReservationRequest,
  type InterfaceSettings as WireSettings,
  type Reservation as WireReservation,
} from '../../../shared/gen/domherd/v1/reservation.js';
import { describeBlocks } from '../../domain/pool.js';
import type { ImportOptions } from '../../domain/reservation-plan.js';
import type { InterfaceSettings, ReservationPhase } from '../../domain/reservation.js';
import type { ImportChange, ReservationView } from '../../services/reservation-service.js';
import {
  addressFrom,
  inField,
  integerFrom,
  optionalAddressFrom,
  optionalMsFrom,
  optionalTextFrom,
  timestampFromMs,
} from './convert.js';

const MAX_SOURCE_BYTES = 12 * 1024 * 1024;
const MAX_DNS = 16;
const MAX_EXCLUSIONS = 65_536;

const PHASES: Readonly<Record<ReservationPhase, WirePhase>> = {
  upcoming: WirePhase.UPCOMING,
  active: WirePhase.ACTIVE,
  over: WirePhase.OVER,
};

export const CHANGES: Readonly<Record<ImportChange, WireChange>> = {
  none: WireChange.NONE,
  created: WireChange.CREATED,
  updated: WireChange.UPDATED,
};

export function reservationToWire({ data, phase, size, free, leases }: ReservationView): WireReservation {
  return {
    name: data.name,
    source: data.source,
    user: data.user ?? '',
    site: data.site ?? '',
    jobId: data.jobId ?? '',
    startsAt: timestampFromMs(data.startsAtMs),
    endsAt: timestampFromMs(data.endsAtMs),
    settings: settingsToWire(data.settings),
    blocks: describeBlocks(data.ranges),
    exclusions: data.exclusions.map(formatRange),
    phase: PHASES[phase],
    size,
    free,
    ...leases,
  };
}

export function settingsToWire(settings: InterfaceSettings): WireSettings {
  return {
    prefixLength: settings.prefix,
    broadcast: formatIpv4(settings.broadcast),
    gateway: formatIpv4(settings.gateway),
    dns: settings.dns.map(formatIpv4),
    domain: settings.domain ?? '',
  };
}

/** @throws {AppError} `invalid` naming the field */
export function importOptionsFrom(request: ImportReservationRequest): ImportOptions {
  refuseMany(request.dns.length, 'dns', MAX_DNS);
  refuseMany(request.exclusions.length, 'exclusions', MAX_EXCLUSIONS);
  return {
    name: request.name === '' ? undefined : request.name,
    startsAtMs: optionalMsFrom(request.startsAt, 'starts_at'),
    endsAtMs: optionalMsFrom(request.endsAt, 'ends_at'),
    prefix: request.prefixLength === undefined ? undefined : integerFrom(request.prefixLength, 'prefix_length', 1, 30),
    broadcast: optionalAddressFrom(request.broadcast, 'broadcast'),
    gateway: optionalAddressFrom(request.gateway, 'gateway'),
    dns: request.dns.map((text, n) => addressFrom(text, `dns[${String(n)}]`)),
    domain: domainFrom(request.domain),
    exclusions: request.exclusions.map((text, n) => inField(`exclusions[${String(n)}]`, () => parseRange(text))),
    user: request.user === '' ? undefined : inField('user', () => parseOwnerName(request.user)),
    site: labelFrom(request.site, 'site'),
    jobId: labelFrom(request.jobId, 'job_id'),
  };
}

/** @throws {AppError} `invalid` unless it is UTF-8 of at most 12 MiB */
export function sourceFrom(source: Uint8Array): string {
  const field = 'source';
  if (source.length === 0) {
    throw invalid('the source is empty', { field, hint: 'a job without a subnet prints nothing: reserve one with it' });
  }
  if (source.length > MAX_SOURCE_BYTES) throw invalid('the source is longer than 12 MiB', { field });
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(source);
  } catch {
    throw invalid('the source is not text in UTF-8', { field });
  }
}

/** An address, a CIDR, or "first-last". */
function parseRange(text: string): AddressRange {
  if (text.includes('/')) {
    const cidr = parseCidr(text);
    return { first: firstAddress(cidr), last: lastAddress(cidr) };
  }
  const [first = '', last = first, ...more] = text.split('-').map((part) => part.trim());
  const range = { first: parseIpv4(first), last: parseIpv4(last) };
  if (more.length === 0 && range.first <= range.last) return range;
  throw invalid(`"${text}" is no range of addresses`, { range: text, hint: 'write it as 10.0.0.1-10.0.0.9' });
}

function domainFrom(domain: string | undefined): string | undefined {
  return domain === undefined || domain === '' ? domain : inField('domain', () => parseHostName(domain));
}

function labelFrom(text: string, field: string): string | undefined {
  if (/^[\w.-]*$/.test(text)) return optionalTextFrom(text, field, 63);
  throw invalid(`${field} has a character that is none of [A-Za-z0-9._-]`, { field });
}

function refuseMany(count: number, field: string, max: number): void {
  if (count > max) throw invalid(`${field} has ${String(count)} entries, more than ${String(max)}`, { field });
}
