import type { Shell } from './completion-script.js';
import { verb, type Noun, type Verb } from './verb.js';

function shellVerb(shell: Shell, examples: readonly [string, ...string[]]): Verb<never> {
  return verb({
    name: shell,
    about: `print the completion script of ${shell}`,
    formats: [],
    examples,
    run: async (call) => (await import('./completion-action.js')).printCompletion(call, shell),
  });
}

export const COMPLETION: Noun = {
  name: 'completion',
  about: 'completion for shells',
  verbs: [
    shellVerb('bash', [
      'source <(domherd completion bash)',
      'domherd completion bash > ~/.local/share/bash-completion/completions/domherd',
    ]),
    shellVerb('zsh', ['source <(domherd completion zsh)', 'domherd completion zsh > ~/.zsh/functions/_domherd']),
    shellVerb('fish', [
      'domherd completion fish | source',
      'domherd completion fish > ~/.config/fish/completions/domherd.fish',
    ]),
    verb({
      name: 'words',
      args: '[word...]',
      about: 'what the scripts ask: the words that could come next',
      formats: [],
      examples: ['domherd completion words -- vm start dom'],
      run: async (call, args) => (await import('./completion-action.js')).printWords(call, args),
    }),
  ],
};
