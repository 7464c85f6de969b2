import { invalid } from '../errors.js';

const UNITS = [
  { unit: 'd', ms: 86_400_000 },
  { unit: 'h', ms: 3_600_000 },
  { unit: 'm', ms: 60_000 },
  { unit: 's', ms: 1000 },
  { unit: 'ms', ms: 1 },
] as const;

const SHAPE = /^(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?$/;

/**
 * Reads `90s`, `10m`, `2h30m`, `1d`: whole numbers with the units d, h, m, s, ms, each at most once and in this order.
 *
 * @returns milliseconds, 0 to 2**53 - 1
 * @throws {AppError} `invalid` otherwise; a bare number is refused since its unit is anybody's guess
 */
export function parseDuration(text: string): number {
  const match = SHAPE.exec(text);
  const durationMs = UNITS.reduce((sum, { ms }, n) => sum + Number(match?.[n + 1] ?? 0) * ms, 0);
  if (text !== '' && match !== null && Number.isSafeInteger(durationMs)) return durationMs;
  const hint = /^\d+$/.test(text) ? `add the unit, as in ${text}s or ${text}m` : 'write it as 90s, 10m, 2h30m or 1d';
  throw invalid(`"${text}" is not a duration`, { duration: text, hint });
}

/**
 * The inverse of {@link parseDuration}; 0 is `0s`.
 *
 * @param durationMs milliseconds, an integer of 0 to 2**53 - 1
 * @throws {AppError} `invalid` for any other number
 */
export function formatDuration(durationMs: number): string {
  if (!Number.isSafeInteger(durationMs) || durationMs < 0) {
    throw invalid(`${durationMs} is not a duration in milliseconds`, { duration: `${durationMs}` });
  }
  let rest = durationMs;
  let text = '';
  for (const { unit, ms } of UNITS) {
    const count = Math.floor(rest / ms);
    if (count > 0) text += `${count}${unit}`;
    rest -= count * ms;
  }
  return text === '' ? '0s' : text;
}
