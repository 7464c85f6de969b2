import { NAMED } from './format.js';
import { verb, type Noun } from './verb.js';

export const CONFLICT: Noun = {
  name: 'conflict',
  about: 'facts that cannot all stand',
  verbs: [
    verb({
      name: 'list',
      about: 'all conflicts, those that hurt now first',
      formats: NAMED,
      examples: ['domherd conflict list', 'domherd conflict list -o json'],
      run: async (call) => (await import('./conflict-action.js')).listConflicts(call),
    }),
  ],
};
