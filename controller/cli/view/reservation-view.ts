import { ReservationPhase, type Reservation } from '../../../shared/gen/domherd/v1/reservation.js';
import { formatLocal, formatLocalLong } from '../local-time.js';
import type { Column, View } from '../output.js';
import { enumText, isoTime } from './enum-text.js';

function phase(reservation: Reservation): string {
  return enumText(ReservationPhase, reservation.phase);
}

function json(reservation: Reservation): unknown {
  const { settings } = reservation;
  return {
    name: reservation.name,
    phase: phase(reservation),
    source: reservation.source,
    user: reservation.user,
    site: reservation.site,
    jobId: reservation.jobId,
    startsAt: isoTime(reservation.startsAt),
    endsAt: isoTime(reservation.endsAt),
    settings: settings && {
      prefixLength: settings.prefixLength,
      broadcast: settings.broadcast,
      gateway: settings.gateway,
      dns: settings.dns,
      domain: settings.domain,
    },
    blocks: reservation.blocks,
    exclusions: reservation.exclusions,
    size: reservation.size,
    free: reservation.free,
    pending: reservation.pending,
    bound: reservation.bound,
    quarantined: reservation.quarantined,
    declined: reservation.declined,
    expired: reservation.expired,
  };
}

export function reservationView(timeZone: string): View<Reservation> {
  const time = (date: Date | undefined): string => (date ? formatLocal(date.getTime(), timeZone) : '-');
  const columns: readonly Column<Reservation>[] = [
    { title: 'NAME', text: ({ name }) => name },
    { title: 'PHASE', text: phase, colour: (one) => (phase(one) === 'active' ? 'green' : 'yellow') },
    { title: 'ENDS', text: ({ endsAt }) => time(endsAt) },
    { title: 'BLOCKS', text: ({ blocks }) => shorten(blocks) },
    { title: 'SIZE', text: ({ size }) => String(size) },
    { title: 'FREE', text: ({ free }) => String(free) },
    { title: 'BOUND', text: ({ bound }) => String(bound) },
  ];
  const more: readonly Column<Reservation>[] = [
    { title: 'PENDING', text: ({ pending }) => String(pending) },
    { title: 'QUARANTINED', text: ({ quarantined }) => String(quarantined) },
    { title: 'DECLINED', text: ({ declined }) => String(declined) },
    { title: 'EXPIRED', text: ({ expired }) => String(expired) },
    { title: 'STARTS', text: ({ startsAt }) => time(startsAt) },
    { title: 'USER', text: ({ user }) => user || '-' },
    { title: 'SITE', text: ({ site }) => site || '-' },
    { title: 'JOB', text: ({ jobId }) => jobId || '-' },
    { title: 'GATEWAY', text: ({ settings }) => settings?.gateway || '-' },
    { title: 'DNS', text: ({ settings }) => settings?.dns.join(' ') || '-' },
  ];
  return {
    columns,
    wide: [...columns, ...more],
    json,
    name: ({ name }) => name,
  };
}

function shorten(blocks: readonly string[]): string {
  const [first = '-', ...rest] = blocks;
  return rest.length === 0 ? first : `${first} and ${String(rest.length)} more`;
}

/** Every field of one reservation. */
export function reservationFields(timeZone: string): readonly Column<Reservation>[] {
  const time = (date: Date | undefined): string => (date ? formatLocalLong(date.getTime(), timeZone) : '');
  return [
    { title: 'Name', text: ({ name }) => name },
    { title: 'Phase', text: phase },
    { title: 'Source', text: ({ source }) => source },
    { title: 'User', text: ({ user }) => user },
    { title: 'Site', text: ({ site }) => site },
    { title: 'Job', text: ({ jobId }) => jobId },
    { title: 'Starts', text: ({ startsAt }) => time(startsAt) },
    { title: 'Ends', text: ({ endsAt }) => time(endsAt) },
    { title: 'Blocks', text: ({ blocks }) => blocks.join(' ') },
    { title: 'Never given', text: ({ exclusions }) => exclusions.join(' ') },
    { title: 'Prefix', text: ({ settings }) => (settings ? `/${String(settings.prefixLength)}` : '') },
    { title: 'Broadcast', text: ({ settings }) => settings?.broadcast ?? '' },
    { title: 'Gateway', text: ({ settings }) => settings?.gateway ?? '' },
    { title: 'DNS', text: ({ settings }) => settings?.dns.join(' ') ?? '' },
    { title: 'Domain', text: ({ settings }) => settings?.domain ?? '' },
    { title: 'Addresses', text: countsText },
  ];
}

function countsText(one: Reservation): string {
  const states = (['free', 'bound', 'pending', 'quarantined', 'declined', 'expired'] as const)
    .filter((state) => one[state] > 0 || state === 'free' || state === 'bound')
    .map((state) => `${String(one[state])} ${state}`);
  return `${String(one.size)}: ${states.join(', ')}`;
}
