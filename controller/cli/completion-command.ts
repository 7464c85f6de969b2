import { verb, type Noun } from './verb.js';

export const COMPLETION: Noun = {
  name: 'completion',
  about: 'completion for shells',
  verbs: [
    verb({
      name: 'bash',
      about: 'print the completion script of bash',
      formats: [],
      examples: [
        'source <(domherd completion bash)',
        'domherd completion bash > ~/.local/share/bash-completion/completions/domherd',
      ],
      run: async (call) => (await import('./completion-action.js')).printBashCompletion(call),
    }),
  ],
};
