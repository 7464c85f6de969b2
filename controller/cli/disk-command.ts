import type { DiskOptions } from './disk-action.js';
import { NAMED } from './format.js';
import { listOption } from './option.js';
import { verb, type Noun } from './verb.js';

export const DISK: Noun = {
  name: 'disk',
  about: 'what the disks of VMs are kept in',
  verbs: [
    verb({
      name: 'list',
      about:
        'file systems, volume groups and thin pools with their room, and whether an environment is recorded with them',
      formats: NAMED,
      options: [listOption('--host <host>', 'of this host only')],
      examples: ['domherd disk list', 'domherd disk list --host dom0-1 -o json'],
      run: async (call, _args, options: DiskOptions) => (await import('./disk-action.js')).listStores(call, options),
    }),
  ],
};
