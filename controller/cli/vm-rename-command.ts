import { ADDRESSED } from './format.js';
import { dryRunOption } from './option.js';
import { verb } from './verb.js';
import type { RenameOptions } from './vm-rename-action.js';

export const renameVerb = verb({
  name: 'rename',
  args: '<vm> <name>',
  about: 'give a stopped VM another name: cfg, its file, and the hostname of the guest; addresses and labels stay',
  formats: ADDRESSED,
  options: [dryRunOption()],
  examples: ['domherd vm rename web-7 db', 'domherd vm rename domU@dom0-1 gateway --dry-run'],
  run: async (call, args, options: RenameOptions) =>
    (await import('./vm-rename-action.js')).renameVm(call, args, options),
});
