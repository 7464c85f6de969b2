/**
 * Text that cannot move a terminal's cursor, break a line or hide: names and messages come from hosts and guests. Control,
 * format and unassigned characters, and blanks other than the common one, become `\u{..}`.
 */
export function printable(text: string): string {
  return text.replaceAll(/[\p{C}\p{Z}]/gu, (char) =>
    char === ' ' ? char : `\\u{${(char.codePointAt(0) ?? 0).toString(16)}}`,
  );
}
