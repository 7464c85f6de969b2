import { PLAIN } from './format.js';
import { verb } from './verb.js';

export const VERSION_VERB = verb({
  name: 'version',
  about: 'versions of this program and of the controller',
  formats: PLAIN,
  examples: ['domherd version', 'domherd version -o json'],
  run: async (call) => (await import('./version-action.js')).showVersion(call),
});
