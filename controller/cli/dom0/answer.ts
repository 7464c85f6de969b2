/** What a script said: `key=value` lines. What the login shell printed besides is no such line, or none that is asked for. */
export interface Answer {
  /** The last value of a key; empty when it was not said, or said empty. */
  readonly one: (key: string) => string;
  /** All values of a key, in order. */
  readonly all: (key: string) => readonly string[];
}

export function parseAnswer(stdout: string): Answer {
  const values = new Map<string, string[]>();
  for (const line of stdout.split('\n')) {
    const match = /^([a-z_]+)=(.*?)\r?$/.exec(line);
    if (match === null) continue;
    const [, key = '', value = ''] = match;
    values.set(key, [...(values.get(key) ?? []), value.replaceAll('\\n', '\n')]);
  }
  const all = (key: string): readonly string[] => values.get(key) ?? [];
  return { all, one: (key) => all(key).at(-1) ?? '' };
}
