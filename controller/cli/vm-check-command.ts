import { PLAIN } from './format.js';
import { fanOptions } from './fan-option.js';
import { option } from './option.js';
import { verb } from './verb.js';
import type { CheckOptions } from './vm-check-action.js';

export const checkVerb = verb({
  name: 'check',
  args: '[vm...]',
  about:
    'whether VMs are as their leases say, and are reached: cfg, guest files, bridge, ping, ssh, address, route, DNS',
  formats: PLAIN,
  options: [
    ...fanOptions(),
    option('--resolve <name>', 'a name that guests have to resolve; else that a server answers'),
  ],
  examples: [
    'domherd vm check --all',
    'domherd vm check web-7 --resolve www.example.org',
    'domherd vm check --all -o json',
  ],
  run: async (call, args, options: CheckOptions) =>
    (await import('./vm-check-action.js')).checkVms(call, args, options),
});
