/**
 * Text that cannot move a terminal's cursor, break a line or hide: names and messages come from hosts and guests. Control,
 * format and unassigned characters, and blanks other than the common one, become `\u{..}`.
 */
export function printable(text: string): string {
  return escapeUnseen(text, (char) => `\\u{${(char.codePointAt(0) ?? 0).toString(16)}}`);
}

/** The same for JSON on one line, which still says what it said: JSON itself lets all but the first 32 characters through. */
export function printableJson(value: unknown): string {
  return escapeUnseen(JSON.stringify(value), (char) =>
    char
      .split('')
      .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
      .join(''),
  );
}

function escapeUnseen(text: string, escape: (char: string) => string): string {
  return text.replaceAll(/[\p{C}\p{Z}]/gu, (char) => (char === ' ' ? char : escape(char)));
}
