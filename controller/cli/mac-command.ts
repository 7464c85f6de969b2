import { ADDRESSED } from './format.js';
import { verb, type Noun } from './verb.js';

export const MAC: Noun = {
  name: 'mac',
  about: 'MACs of leases, and those claimed without an address',
  verbs: [
    verb({
      name: 'list',
      about: 'all MACs, their owners, and why each is what it is',
      formats: ADDRESSED,
      examples: ['domherd mac list', 'domherd mac list -o json'],
      run: async (call) => (await import('./mac-action.js')).listMacs(call),
    }),
  ],
};
