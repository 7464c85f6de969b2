import { ADDRESSED } from './format.js';
import { dryRunOption, durationOption, option } from './option.js';
import { verb } from './verb.js';
import type { MigrateOptions } from './vm-migrate-action.js';

export const migrateVerb = verb({
  name: 'migrate',
  args: '[vm...]',
  about: 'take VMs to another host, with their disks, leases and labels; what ran is started there',
  formats: ADDRESSED,
  options: [
    option('--to <host>', 'the host').makeOptionMandatory(),
    option(
      '--cold',
      'shut down what runs meanwhile; without it nothing is done, since no two hosts see the same disks',
    ),
    option('-a, --all', 'all VMs of all hosts'),
    durationOption('--timeout <duration>', 'wait for a guest to shut down so long, 1s to 1h; else 60s', '1s', '1h'),
    option('--then <what>', 'what becomes of a guest that is still there then; else leave').choices([
      'leave',
      'destroy',
    ]),
    dryRunOption(),
  ],
  examples: [
    'domherd vm migrate web-7 --to dom0-2 --cold',
    "domherd vm migrate '*@dom0-1' --to dom0-2 --cold --timeout 2m --then destroy",
  ],
  run: async (call, args, options: MigrateOptions) =>
    (await import('./vm-migrate-action.js')).migrateVms(call, args, options),
});
