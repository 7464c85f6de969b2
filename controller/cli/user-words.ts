import { AppError } from '../../shared/errors.js';
import type { Verb } from './verb.js';

/** Where a field of the wire is called otherwise than what a user writes. */
const CALLED: Readonly<Record<string, readonly string[]>> = {
  names: ['vm', 'host'],
  hosts: ['on', 'host'],
  exclusions: ['exclude'],
  job_id: ['job'],
  vm_ids: ['vm'],
  like: ['like', 'vm'],
};
const UNITS = /_(seconds|ms|mib|length|bytes)$/;

/**
 * An error of the controller names the field of its message, as a gRPC client needs it; who typed a command knows flags and
 * arguments: `claims[0].owner.name` of `lease acquire` is NAME, `timeout_seconds` is --timeout.
 */
export function inUserWords(error: unknown, verb: Pick<Verb<never>, 'args' | 'options'>): unknown {
  if (!(error instanceof AppError) || error.details['field'] === undefined) return error;
  const { field, ...details } = error.details;
  const path = /^[a-z_]+(?:\[\d+\])?(?:\.[a-z_]+(?:\[\d+\])?)*/.exec(error.message)?.[0] ?? '';
  const isNamed = path !== '' && path.startsWith(field);
  const word = wordFor(isNamed ? path : field, verb);
  if (word === undefined) return isNamed ? error : new AppError(error.code, error.message, details, error.cause);
  const message = isNamed ? `${word}${error.message.slice(path.length)}` : error.message;
  return new AppError(error.code, message, details, error.cause);
}

function wordFor(path: string, { args = '', options = [] }: Pick<Verb<never>, 'args' | 'options'>): string | undefined {
  const last =
    path
      .split('.')
      .at(-1)
      ?.replace(/\[\d+\]$/, '') ?? '';
  const bare = last.replace(UNITS, '');
  const names = [...(CALLED[last] ?? []), last, bare, bare.replace(/(ss|x)es$/, '$1'), bare.replace(/s$/, '')];
  for (const name of names) {
    const flag = `--${name.replaceAll('_', '-')}`;
    if (options.some(({ long }) => long === flag)) return flag;
    if (new RegExp(`[<[]${name}(\\.\\.\\.)?[>\\]]`).test(args)) return name.toUpperCase();
  }
  return undefined;
}
