import type { Option } from 'commander';
import { countOption, durationOption, loginOption, option } from './option.js';

export function userOption(): Option {
  return loginOption();
}

/** Of what is done in many VMs at once. */
export function fanOptions(): readonly Option[] {
  return [
    option('-a, --all', 'all VMs that run and have a lease'),
    userOption(),
    countOption('--max <count>', 'at most so many at once; else 32', 1, 1_000),
    durationOption('--timeout <duration>', 'give a VM so long, 1s to 1d; else 10m', '1s', '1d'),
  ];
}
