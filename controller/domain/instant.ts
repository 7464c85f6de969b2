const DAY_MS = 86_400_000;
/** Days from 0000-03-01 to 1970-01-01, in the calendar that began before anybody used it. */
const EPOCH_DAYS = 719_468;
const ERA_DAYS = 146_097;

/** @param atMs milliseconds since 1970, 0 or more @returns UTC to the second: 2026-01-05T09:00:00Z */
export function formatInstant(atMs: number): string {
  const seconds = Math.floor((atMs % DAY_MS) / 1000);
  const clock = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60].map(twoDigits).join(':');
  return `${formatDay(Math.floor(atMs / DAY_MS))}T${clock}Z`;
}

/** The day of the year counts from 1 March, so that a leap day comes last (H. Hinnant, chrono-compatible date algorithms). */
function formatDay(daysSince1970: number): string {
  const days = daysSince1970 + EPOCH_DAYS;
  const era = Math.floor(days / ERA_DAYS);
  const dayOfEra = days - era * ERA_DAYS;
  const leaps = Math.floor(dayOfEra / 1460) - Math.floor(dayOfEra / 36_524) + Math.floor(dayOfEra / 146_096);
  const yearOfEra = Math.floor((dayOfEra - leaps) / 365);
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const marchMonth = Math.floor((5 * dayOfYear + 2) / 153);
  const day = dayOfYear - Math.floor((153 * marchMonth + 2) / 5) + 1;
  const month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9;
  const year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0);
  return `${String(year).padStart(4, '0')}-${twoDigits(month)}-${twoDigits(day)}`;
}

function twoDigits(value: number): string {
  return String(value).padStart(2, '0');
}
