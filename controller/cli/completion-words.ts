import type { Option } from 'commander';
import { splitNames } from '../../shared/domain/name-pattern.js';
import type { Noun, Verb } from './verb.js';

/** What could stand where the cursor is. */
export interface Candidate {
  readonly word: string;
  readonly about: string;
}

/** What only the shell can complete. */
export type Paths = 'file' | 'dir';

export interface Completion {
  readonly candidates: readonly Candidate[];
  readonly paths: Paths | undefined;
}

export interface Grammar {
  readonly nouns: readonly Noun[];
  readonly plainVerbs: readonly Verb<never>[];
  /** Those that every command takes, without `-o`. */
  readonly options: readonly Option[];
}

/** What a list of the controller has the names of: nouns with a `list`; of leases their addresses. */
export type Named = 'vm' | 'host' | 'reservation' | 'bridge' | 'image' | 'lease';

/** @returns names that there are now; none where nobody answers */
export type AskNames = (named: Named) => Promise<readonly string[]>;

const NOTHING: Completion = { candidates: [], paths: undefined };
const FORMAT_FLAGS = ['-o', '--output'];

/** The placeholder of an argument or an option tells what it takes. */
const NAMED: readonly (readonly [RegExp, Named])[] = [
  [/^vms?$/, 'vm'],
  [/^hosts?$/, 'host'],
  [/^reservation$/, 'reservation'],
  [/^bridge$/, 'bridge'],
  [/^image$/, 'image'],
  [/^address(\||$)/, 'lease'],
];
const PATHS: readonly (readonly [RegExp, Paths])[] = [
  [/^(file|path)\b/, 'file'],
  [/^dir$/, 'dir'],
];

/**
 * @param words of the command line behind the program's name; the last one, which may be empty, is being typed
 */
export async function completeWords(words: readonly string[], grammar: Grammar, ask: AskNames): Promise<Completion> {
  const current = words.at(-1) ?? '';
  const before = words.slice(0, -1);
  const { verb, noun, args } = readCommand(before, grammar);
  if (before.includes('--')) return { candidates: [], paths: 'file' };
  const options = [...(verb?.options ?? []), ...grammar.options];
  const valueOf = optionWithoutValue(before.at(-1), options, verb);
  if (valueOf) return starting(current, await valuesOf(valueOf, current, '', ask));
  const [, flag = '', value] = /^(--[a-z][a-z0-9-]*)=(.*)$/s.exec(current) ?? [];
  const inline = value === undefined ? undefined : optionWithoutValue(flag, options, verb);
  if (inline) return starting(current, await valuesOf(inline, value ?? '', `${flag}=`, ask));
  if (current.startsWith('-')) return starting(current, { candidates: flagsOf(options, verb), paths: undefined });
  if (verb) return starting(current, await argumentsOf(verb, args, current, options, ask));
  const next = noun ? noun.verbs : [...grammar.nouns, ...grammar.plainVerbs];
  return starting(current, { candidates: next.map(({ name, about }) => ({ word: name, about })), paths: undefined });
}

function starting(current: string, { candidates, paths }: Completion): Completion {
  return { candidates: candidates.filter(({ word }) => word.startsWith(current)), paths };
}

interface Read {
  readonly noun: Noun | undefined;
  readonly verb: Verb<never> | undefined;
  readonly args: readonly string[];
}

/** The noun, the verb and what stands behind them; options and their values are left out. */
function readCommand(words: readonly string[], { nouns, plainVerbs, options }: Grammar): Read {
  let read: Read = { noun: undefined, verb: undefined, args: [] };
  for (const [n, word] of words.entries()) {
    const { noun, verb, args } = read;
    const isValue = optionWithoutValue(words[n - 1], [...(verb?.options ?? []), ...options], verb) !== undefined;
    if (word.startsWith('-') || isValue) continue;
    if (verb) read = { ...read, args: [...args, word] };
    else if (noun) read = { ...read, verb: noun.verbs.find(({ name }) => name === word) };
    else
      read = {
        ...read,
        noun: nouns.find(({ name }) => name === word),
        verb: plainVerbs.find(({ name }) => name === word),
      };
  }
  return read;
}

/** What an option of the command takes as its value. */
interface ValueOf {
  readonly choices: readonly string[] | undefined;
  readonly placeholder: string;
}

/** `undefined` unless the word is an option that wants a value. */
function optionWithoutValue(
  word: string | undefined,
  options: readonly Option[],
  verb: Verb<never> | undefined,
): ValueOf | undefined {
  if (word === undefined || !word.startsWith('-')) return undefined;
  if (FORMAT_FLAGS.includes(word)) return { choices: verb?.formats ?? [], placeholder: 'format' };
  const option = options.find(({ long, short }) => word === long || word === short);
  if (!option || (!option.required && !option.optional)) return undefined;
  return { choices: option.argChoices, placeholder: placeholdersOf(option.flags)[0]?.name ?? '' };
}

async function valuesOf(
  { choices, placeholder }: ValueOf,
  value: string,
  prefix: string,
  ask: AskNames,
): Promise<Completion> {
  if (choices) return { candidates: choices.map((word) => ({ word: prefix + word, about: '' })), paths: undefined };
  // Of a list, what stands before the last comma is done.
  const typed = value.endsWith(',') ? splitNames(value) : splitNames(value).slice(0, -1);
  const head = typed.map((name) => `${name},`).join('');
  const { candidates, paths } = await namedBy(placeholder, ask);
  const rest = candidates.filter(({ word }) => !typed.includes(word));
  return { candidates: rest.map(({ word, about }) => ({ word: prefix + head + word, about })), paths };
}

async function argumentsOf(
  verb: Verb<never>,
  args: readonly string[],
  current: string,
  options: readonly Option[],
  ask: AskNames,
): Promise<Completion> {
  const placeholders = placeholdersOf(verb.args ?? '');
  const last = placeholders.at(-1);
  const wanted = placeholders[args.length] ?? (last?.isVariadic ? last : undefined);
  if (!wanted) return current === '' ? { candidates: flagsOf(options, verb), paths: undefined } : NOTHING;
  const { candidates, paths } = await namedBy(wanted.name, ask);
  return { candidates: candidates.filter(({ word }) => !args.includes(word)), paths };
}

async function namedBy(placeholder: string, ask: AskNames): Promise<Completion> {
  const named = NAMED.find(([pattern]) => pattern.test(placeholder))?.[1];
  const paths = PATHS.find(([pattern]) => pattern.test(placeholder))?.[1];
  const names = named ? await ask(named) : [];
  return { candidates: [...new Set(names)].map((word) => ({ word, about: '' })), paths };
}

function flagsOf(options: readonly Option[], verb: Verb<never> | undefined): readonly Candidate[] {
  const own = options.flatMap(({ long, description }) => (long ? [{ word: long, about: description }] : []));
  const formats = verb && verb.formats.length > 0 ? [{ word: '--output', about: verb.formats.join(', ') }] : [];
  return [...own, ...formats, { word: '--help', about: 'what the command takes' }];
}

interface Placeholder {
  readonly name: string;
  readonly isVariadic: boolean;
}

/** "<file> [vm...]" */
function placeholdersOf(text: string): readonly Placeholder[] {
  return [...text.matchAll(/[<[]([^\]>.]+)(\.\.\.)?[>\]]/g)].map(([, name = '', dots]) => ({
    name,
    isVariadic: dots !== undefined,
  }));
}
