import type { Invocation } from './invocation.js';
import { NOUNS, PLAIN_VERBS } from './program.js';
import type { Verb } from './verb.js';

/** Nouns, verbs and options stand in the script; names are asked of the controller, for a second at most. */
export function bashCompletion(): string {
  const nouns = [...NOUNS, ...PLAIN_VERBS].map(({ name }) => name);
  const verbs = NOUNS.map(({ name, verbs: all }) => `    ${name}) words="${all.map((verb) => verb.name).join(' ')}";;`);
  const options = NOUNS.flatMap((noun) => noun.verbs.map((verb) => optionCase(`"${noun.name} ${verb.name}"`, verb)));
  const plain = PLAIN_VERBS.map((verb) => optionCase(`"${verb.name} "*`, verb));
  return `# bash completion of domherd: source <(domherd completion bash)
_domherd_names() { timeout 1 domherd "$1" list -o name 2>/dev/null; }
_domherd() {
  local current=\${COMP_WORDS[COMP_CWORD]} noun=\${COMP_WORDS[1]} verb=\${COMP_WORDS[2]} words="" names=""
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    words="${nouns.join(' ')}"
  elif [ "$COMP_CWORD" -eq 2 ]; then
    case $noun in
${verbs.join('\n')}
    esac
  fi
  if [ "$COMP_CWORD" -gt 1 ] && [ -z "$words" ]; then
    case "$noun $verb" in
${options.join('\n')}
${plain.join('\n')}
    esac
    case $current in -*) ;; *) words=""; [ -n "$names" ] && words=$(_domherd_names "$names") ;; esac
  fi
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}
complete -o default -F _domherd domherd
`;
}

/** The placeholder of an argument tells which list has its names. */
const LISTED: readonly [RegExp, string][] = [
  [/vm/, 'vm'],
  [/host/, 'host'],
  [/reservation/, 'reservation'],
];

function optionCase(pattern: string, verb: Verb<never>): string {
  const words = [...(verb.options ?? []).flatMap(({ long }) => (long ? [long] : [])), '--output', '--help'];
  const names = LISTED.find(([placeholder]) => placeholder.test(verb.args ?? ''))?.[1] ?? '';
  return `      ${pattern}) words="${words.join(' ')}"; names="${names}";;`;
}

export function printBashCompletion(call: Invocation): Promise<number> {
  call.world.stdout.write(bashCompletion());
  return Promise.resolve(0);
}
