import { SCRIPTS, type Shell } from './completion-script.js';
import { completeWords, type AskNames, type Named } from './completion-words.js';
import type { OutputFormat } from './format.js';
import type { Invocation } from './invocation.js';
import { globalOptions, NOUNS, PLAIN_VERBS } from './program.js';

export function printCompletion(call: Invocation, shell: Shell): Promise<number> {
  call.world.stdout.write(SCRIPTS[shell]);
  return Promise.resolve(0);
}

/** What the scripts ask. */
export async function printWords(call: Invocation, words: readonly string[]): Promise<number> {
  const grammar = {
    nouns: NOUNS,
    plainVerbs: PLAIN_VERBS,
    options: globalOptions().filter(({ short }) => short !== '-o'),
  };
  const { candidates, paths } = await completeWords(words, grammar, askController(call));
  const lines = candidates.map(({ word, about }) => (about === '' ? word : `${word}\t${about}`));
  call.world.stdout.write([...lines, ...(paths ? [`:${paths}`] : [])].map((line) => `${line}\n`).join(''));
  return 0;
}

/** A controller that does not answer has no names; the scripts limit how long that is waited for. */
function askController(call: Invocation): AskNames {
  return (named) => listNames(call, named).catch(() => []);
}

/** What `domherd NOUN list -o name` prints. */
async function listNames(call: Invocation, named: Named): Promise<readonly string[]> {
  const list = NOUNS.find(({ name }) => name === named)?.verbs.find(({ name }) => name === 'list');
  const format: OutputFormat = named === 'lease' ? 'ips' : 'name';
  if (!list?.formats.includes(format)) return [];
  let text = '';
  const world = {
    ...call.world,
    stdout: { write: (more: string) => (text += more) },
    stderr: { write: () => undefined },
  };
  await list.run({ ...call, world, format }, [], {} as never);
  const names = text.split('\n').filter((name) => name !== '');
  // A bridge is named without its host where it is asked for.
  return named === 'bridge' ? names.map((name) => name.replace(/@.*/, '')) : names;
}
