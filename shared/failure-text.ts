import type { AppError } from './errors.js';
import { printable } from './domain/printable.js';

/**
 * An error as every program of ours writes it to stderr, each line with its end: message, hint, and those facts that the
 * message does not tell. Further lines of a message are indented, so that none of them looks like one of ours.
 *
 * @param defaultHint for an error that brings none
 */
export function formatFailure(program: string, error: AppError, defaultHint: string): string {
  const [first = '', ...more] = error.message.split('\n').map(printable);
  const facts = Object.entries(error.details).filter(
    ([key, value]) => key !== 'hint' && value !== '' && !error.message.includes(value),
  );
  return [
    `${program}: ${first}`,
    ...more.map((line) => `  ${line.trimStart()}`),
    `hint: ${printable(error.details['hint'] || defaultHint)}`,
    ...facts.map(([key, value]) => `  ${printable(key)}: ${printable(value)}`),
    '',
  ].join('\n');
}
