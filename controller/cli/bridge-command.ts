import type { BridgeOptions } from './bridge-action.js';
import { NAMED } from './format.js';
import { listOption } from './option.js';
import { verb, type Noun } from './verb.js';

export const BRIDGE: Noun = {
  name: 'bridge',
  about: 'the Linux bridges of the dom0s; domherd makes and changes none',
  verbs: [
    verb({
      name: 'list',
      about: 'bridges with members, uplinks, addresses and VMs; which is the default, and why',
      formats: NAMED,
      options: [listOption('--host <host>', 'of this host only')],
      examples: ['domherd bridge list', 'domherd bridge list --host dom0-1 -o json'],
      run: async (call, _args, options: BridgeOptions) =>
        (await import('./bridge-action.js')).listBridges(call, options),
    }),
  ],
};
