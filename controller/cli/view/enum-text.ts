/**
 * The name of a generated enum's value in lower case: BOUND -> "bound". "unknown" for one that a newer controller has.
 *
 * @param names the generated object: { BOUND: 2, UNRECOGNIZED: -1, ... }
 */
export function enumText(names: Readonly<Record<string, number>>, value: number): string {
  const [name] = Object.entries(names).find(([, number]) => number === value && number > 0) ?? [];
  return name === undefined ? 'unknown' : name.toLowerCase();
}

/** The value with that name; `undefined` when there is none. */
export function enumValue<Value extends number>(
  names: Readonly<Record<string, Value>>,
  text: string,
): Value | undefined {
  return names[text.toUpperCase()];
}

/** ISO 8601, or null. */
export function isoTime(date: Date | undefined): string | null {
  return date?.toISOString() ?? null;
}
