import { existsSync } from 'node:fs';
import { InvalidArgumentError, Option } from 'commander';
import { parseDuration } from '../../shared/domain/duration.js';
import { splitNames } from '../../shared/domain/name-pattern.js';

/** An option of the value; `flags` as commander writes them. The name in <> tells completion what to offer. */
export function option(flags: string, about: string): Option {
  return new Option(flags, about);
}

/** An option that may be given several times, or once with commas between; those of a pattern's brackets are its own. */
export function listOption(flags: string, about: string): Option {
  return new Option(flags, `${about} (repeat it, or separate by commas)`).argParser(
    (text: string, before: readonly string[] | undefined) => [...(before ?? []), ...splitNames(text)],
  );
}

/** An option of a whole number, `min` and `max` included. */
export function countOption(flags: string, about: string, min: number, max: number): Option {
  return new Option(flags, about).argParser((text: string) => parseCount(text, min, max));
}

/** @throws {InvalidArgumentError} if `text` is no whole number of `min` to `max`, both included */
export function parseCount(text: string, min: number, max: number): number {
  const count = /^\d{1,9}$/.test(text) ? Number(text) : NaN;
  if (count >= min && count <= max) return count;
  throw new InvalidArgumentError(`It must be a whole number of ${String(min)} to ${String(max)}.`);
}

/** An option of a whole number, or of the word `max`. */
export function countOrMaxOption(flags: string, about: string, min: number, max: number): Option {
  return new Option(flags, about).argParser((text: string) => {
    if (text === 'max') return text;
    try {
      return parseCount(text, min, max);
    } catch {
      throw new InvalidArgumentError(`It must be a whole number of ${String(min)} to ${String(max)}, or max.`);
    }
  });
}

/** An option of a duration such as `1m30s`, `min` and `max` included; its value is in milliseconds. */
export function durationOption(flags: string, about: string, min: string, max: string): Option {
  return new Option(flags, about).argParser((text: string) => {
    const durationMs = parseDuration(text);
    if (durationMs >= parseDuration(min) && durationMs <= parseDuration(max)) return durationMs;
    throw new InvalidArgumentError(`It must be a duration of ${min} to ${max}.`);
  });
}

/** An option of a file that is there. */
export function fileOption(flags: string, about: string): Option {
  return new Option(flags, about).argParser((text: string) => {
    if (existsSync(text)) return text;
    throw new InvalidArgumentError('There is no such file.');
  });
}

/** An option of a name to log in by; what ssh would take for an option of its own is none. */
export function loginOption(about = 'log in as; else root'): Option {
  return new Option('--user <user>', about).argParser((text: string) => {
    if (/^[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}\$?$/.test(text)) return text;
    throw new InvalidArgumentError('It is no name of a user.');
  });
}

/** For commands that take something away. */
export function yesOption(): Option {
  return new Option('-y, --yes', 'do not ask');
}

export function dryRunOption(about = 'show the plan, change nothing'): Option {
  return new Option('--dry-run', about);
}

/** An option of a file with public keys, that may be given several times. */
export function keyOption(about: string): Option {
  return new Option('--key <file>', `let in who has the key of this public one, ${about} (repeat it)`).argParser(
    (path: string, before: readonly string[] | undefined) => [...(before ?? []), path],
  );
}

export function bridgeOption(): Option {
  return option('--bridge <bridge>', 'for NICs whose cfg names no bridge that exists; else the default of bridge list');
}
