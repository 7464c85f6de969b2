import type { Lab } from '../lab.js';

/**
 * A sentence that is true, and what shows it; it throws when the sentence is false. What it returns is what was measured, to be
 * printed with the sentence.
 */
export type Step = readonly [sentence: string, show: () => Promise<void> | Promise<string>];

/**
 * Steps that build on one another. When one fails the rest of its group counts as failed too: what they would show is not
 * shown.
 */
export interface Group {
  readonly name: string;
  /** The group whose end is this one's beginning; it is run first if need be. None: the snapshot of the lab. */
  readonly after?: Group;
  /** Without a name on the command line it is run always, or never, or of images that it has not shown yet. */
  readonly unnamed?: 'always' | 'never' | 'of-new-images';
  readonly steps: (lab: Lab) => readonly Step[];
}
