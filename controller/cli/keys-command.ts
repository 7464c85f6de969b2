import { fanOptions } from './fan-option.js';
import { NAMED } from './format.js';
import type { PushOptions } from './keys-push-action.js';
import { keyOption } from './option.js';
import { verb, type Noun } from './verb.js';

const pushVerb = verb({
  name: 'push',
  args: '[vm...]',
  about: 'let your ssh keys into VMs that run, by whatever lets you in now; keys that they have stay',
  formats: NAMED,
  options: [...fanOptions(), keyOption('instead of those in ~/.ssh')],
  examples: [
    'domherd keys push --all',
    'domherd keys push web-1 web-2 --key ./colleague.pub',
    'domherd keys push domU@dom0-1 --user debian',
  ],
  run: async (call, args, options: PushOptions) =>
    (await import('./keys-push-action.js')).pushKeys(call, args, options),
});

export const KEYS: Noun = { name: 'keys', about: 'ssh keys that VMs let in', verbs: [pushVerb] };
