const FORMATS = new Map<string, Intl.DateTimeFormat>();

/** The fields that a clock on the wall shows, in ranges as people write them: month 1 to 12. */
export interface WallClock {
  readonly year: number;
  readonly month: number;
  readonly day: number;
  readonly hour: number;
  readonly minute: number;
  readonly second: number;
  readonly weekday: string;
  /** "CEST", or "GMT+2" where the zone has no English abbreviation. */
  readonly zoneName: string;
}

/** @param timeZone IANA name, or "UTC" */
export function wallClock(atMs: number, timeZone: string): WallClock {
  const parts = new Map(
    formatFor(timeZone)
      .formatToParts(atMs)
      .map((part) => [part.type, part.value]),
  );
  const number = (type: Intl.DateTimeFormatPartTypes): number => Number(parts.get(type));
  return {
    year: number('year'),
    month: number('month'),
    day: number('day'),
    hour: number('hour'),
    minute: number('minute'),
    second: number('second'),
    weekday: parts.get('weekday') ?? '',
    zoneName: parts.get('timeZoneName') ?? timeZone,
  };
}

// Making a formatter costs far more than using one.
function formatFor(timeZone: string): Intl.DateTimeFormat {
  const known = FORMATS.get(timeZone);
  if (known) return known;
  // en-GB knows the abbreviations of Europe's zones, en-US writes GMT+2 for them.
  const made = new Intl.DateTimeFormat('en-GB', {
    timeZone,
    hourCycle: 'h23',
    weekday: 'short',
    year: 'numeric',
    month: '2-digit',
    day: '2-digit',
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
    timeZoneName: 'short',
  });
  FORMATS.set(timeZone, made);
  return made;
}

/** "2026-03-29 20:00:00"; for columns, whose zone is the user's. */
export function formatLocal(atMs: number, timeZone: string): string {
  const clock = wallClock(atMs, timeZone);
  return `${dateOf(clock)} ${two(clock.hour)}:${two(clock.minute)}:${two(clock.second)}`;
}

/** "Sun 2026-03-29 20:00 CEST"; for sentences. */
export function formatLocalLong(atMs: number, timeZone: string): string {
  const clock = wallClock(atMs, timeZone);
  return `${clock.weekday} ${dateOf(clock)} ${two(clock.hour)}:${two(clock.minute)} ${clock.zoneName}`;
}

function dateOf(clock: WallClock): string {
  return `${String(clock.year)}-${two(clock.month)}-${two(clock.day)}`;
}

function two(count: number): string {
  return String(count).padStart(2, '0');
}
