import { PLAIN } from './format.js';
import type { EventOptions } from './event-action.js';
import { countOption, listOption, option } from './option.js';
import { verb, type Noun } from './verb.js';

const MOST_EVENTS = 1000;

export const EVENT: Noun = {
  name: 'event',
  about: 'the history of everything',
  verbs: [
    verb({
      name: 'list',
      about: 'what happened, oldest first',
      formats: PLAIN,
      options: [
        option('-f, --follow', 'then tell what happens, until Ctrl-C'),
        listOption('--host <host>', 'only of this host'),
        listOption('--vm <vm>', 'only of this VM'),
        listOption('--kind <kind>', 'only of this kind, as in vm.started, or vm. for all of VMs'),
        option('--address <address>', 'only of this address'),
        option('--reservation <reservation>', 'only of this reservation'),
        countOption('--limit <n>', 'the newest N; else 100, or 10 with --follow', 1, MOST_EVENTS),
      ],
      examples: [
        'domherd event list --follow',
        'domherd event list --vm domU@dom0-1 --limit 20',
        "domherd event list --host 'dom0-[1-4]' --kind host.",
        'domherd event list --kind lease. -o json',
      ],
      run: async (call, _args, options: EventOptions) => (await import('./event-action.js')).listEvents(call, options),
    }),
  ],
};
