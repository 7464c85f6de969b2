import { formatDuration, parseDuration } from '../../shared/domain/duration.js';
import { invalid } from '../../shared/errors.js';
import { formatLocalLong, wallClock } from './local-time.js';

const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;
const ISO = /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d)(?::(\d\d)(?:\.\d{1,9})?)?(Z|[+-]\d\d:\d\d)$/;

/**
 * Reads a point in time: `20:00` is the next such time in `timeZone`, strictly after `nowMs`; `+2h30m` counts from now;
 * `2026-03-29T20:00+02:00` is ISO 8601 and needs its zone. An hour that the clocks skip that day is the next day's; one
 * that they show twice is the first of both that is still to come.
 *
 * @param nowMs milliseconds since 1970
 * @param timeZone IANA name
 * @returns milliseconds since 1970
 * @throws {AppError} `invalid` with a hint
 */
export function parseMoment(text: string, nowMs: number, timeZone: string): number {
  if (text.startsWith('+')) return nowMs + parseDuration(text.slice(1));
  const clock = /^(\d{1,2}):(\d\d)$/.exec(text);
  if (clock) return nextClockTime(text, Number(clock[1]), Number(clock[2]), nowMs, timeZone);
  return parseIso(text);
}

function nextClockTime(text: string, hour: number, minute: number, nowMs: number, timeZone: string): number {
  if (hour > 23 || minute > 59) {
    throw invalid(`"${text}" is not a time of day`, { time: text, hint: 'give 00:00 to 23:59' });
  }
  // Today, tomorrow, or the day after where the clocks skip that hour tomorrow.
  const today = wallClock(nowMs, timeZone);
  for (let day = 0; day <= 2; day += 1) {
    const wantedUtc = Date.UTC(today.year, today.month - 1, today.day + day, hour, minute);
    const next = instantsOf(wantedUtc, timeZone).find((atMs) => atMs > nowMs);
    if (next !== undefined) return next;
  }
  throw invalid(`"${text}" does not come in the next days in the zone ${timeZone}`, {
    time: text,
    hint: 'give the date and zone too, as in 2026-03-29T20:00+02:00',
  });
}

/** The instants at which the wall clock of the zone shows the fields that `wantedUtc` has in UTC: none, one or two. */
function instantsOf(wantedUtc: number, timeZone: string): readonly number[] {
  const offsets = [-DAY_MS, DAY_MS].map((shift) => offsetMs(wantedUtc + shift, timeZone));
  return [...new Set(offsets)]
    .map((offset) => wantedUtc - offset)
    .filter((atMs) => atMs + offsetMs(atMs, timeZone) === wantedUtc)
    .sort((a, b) => a - b);
}

/** Local time minus UTC at that instant. */
function offsetMs(atMs: number, timeZone: string): number {
  const clock = wallClock(atMs, timeZone);
  const shown = Date.UTC(clock.year, clock.month - 1, clock.day, clock.hour, clock.minute);
  return shown - Math.floor(atMs / MINUTE_MS) * MINUTE_MS;
}

function parseIso(text: string): number {
  const [, year, month, day] = ISO.exec(text) ?? [];
  const atMs = year === undefined ? NaN : Date.parse(text);
  // Date.parse reads 30 February as 2 March.
  const midnight = new Date(Date.UTC(Number(year), Number(month) - 1, Number(day)));
  if (!Number.isNaN(atMs) && midnight.getUTCDate() === Number(day)) return atMs;
  throw invalid(`"${text}" is not a point in time`, {
    time: text,
    hint: /^\d{4}-\d\d-\d\d/.test(text)
      ? 'ISO 8601 needs time and zone here, as in 2026-03-29T20:00+02:00 or 2026-03-29T18:00Z'
      : 'write it as 20:00, +2h30m or 2026-03-29T20:00+02:00',
  });
}

/** "Sun 2026-03-29 20:00 CEST, in 2h30m": shows the user how a time was understood. */
export function describeMoment(atMs: number, nowMs: number, timeZone: string): string {
  const minutes = Math.round(Math.abs(atMs - nowMs) / MINUTE_MS);
  const distance = minutes === 0 ? 'now' : formatDuration(minutes * MINUTE_MS);
  const relation = minutes === 0 ? distance : atMs > nowMs ? `in ${distance}` : `${distance} ago`;
  return `${formatLocalLong(atMs, timeZone)}, ${relation}`;
}
