import { countOption, option } from './option.js';
import { verb } from './verb.js';
import type { ConsoleOptions } from './vm-console-action.js';

export const consoleVerb = verb({
  name: 'console',
  args: '<vm>',
  about: 'the console of a VM that runs, or what it said before; Ctrl-] leaves it',
  formats: [],
  options: [
    option('--watch', 'look on, and never write'),
    option('--log', 'what it said before: boot messages and crashes, also of a VM that is stopped'),
    countOption('--lines <count>', 'with --log: the last so many; else 1000', 1, 100_000),
    option('--follow', 'with --log: go on with what is added'),
  ],
  examples: [
    'domherd vm console web-7',
    'domherd vm console web-7 --watch',
    'domherd vm console web-7 --log --lines 50',
    'domherd vm console web-7 --log > web-7.log',
    'echo uptime | domherd vm console web-7',
  ],
  run: async (call, args, options: ConsoleOptions) =>
    (await import('./vm-console-action.js')).openConsole(call, args, options),
});
