const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'] as const;

/** "0 B", "9.8 KiB", "120 MiB": three digits are enough for people; JSON has them all. */
export function bytesText(bytes: bigint): string {
  let value = Number(bytes);
  let unit = 0;
  // A value that would be shown as 1024 is one of the next unit.
  while (value >= 1023.5 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || value >= 99.95 ? 0 : 1;
  return `${value.toFixed(digits)} ${UNITS[unit] ?? ''}`;
}
