import { ADDRESSED } from './format.js';
import { dryRunOption, durationOption, option } from './option.js';
import { verb } from './verb.js';
import type { MigrateOptions } from './vm-migrate-action.js';

export const migrateVerb = verb({
  name: 'migrate',
  args: '[vm...]',
  about: 'take VMs to another host with leases and labels: live on devices that both see, or cold with their disks',
  formats: ADDRESSED,
  options: [
    option('--to <host>', 'the host').makeOptionMandatory(),
    option('--cold', 'shut down what runs, and copy its disks; else live: both hosts have to see the same devices'),
    option('-a, --all', 'all VMs of all hosts'),
    option('--storage <storage>', 'how the disks of cold ones are kept there; else in files').choices([
      'copy',
      'lvm-thin',
      'qcow2',
    ]),
    durationOption('--timeout <duration>', 'wait for a guest to shut down so long, 1s to 1h; else 60s', '1s', '1h'),
    option('--then <what>', 'what becomes of a guest that is still there then; else leave').choices([
      'leave',
      'destroy',
    ]),
    dryRunOption(),
  ],
  examples: [
    'domherd vm migrate web-7 --to dom0-2',
    'domherd vm migrate web-7 --to dom0-2 --cold',
    'domherd vm migrate web-7 --to dom0-2 --cold --storage lvm-thin',
    "domherd vm migrate '*@dom0-1' --to dom0-2 --cold --timeout 2m --then destroy",
  ],
  run: async (call, args, options: MigrateOptions) =>
    (await import('./vm-migrate-action.js')).migrateVms(call, args, options),
});
