import type { Option } from 'commander';
import type { OutputFormat } from './format.js';
import type { Invocation } from './invocation.js';

/**
 * One command as data. `run` is only a door: it loads the code behind the command with `import()`, so that help and
 * completion start without gRPC.
 */
export interface Verb<Options> {
  readonly name: string;
  /**
   * Positional arguments as commander writes them: "<host>", "[vm...]". The name inside tells completion what to offer:
   * vm, host, reservation, file, dir.
   */
  readonly args?: string;
  readonly about: string;
  /** What `-o` takes, the default first; empty: no output to format. */
  readonly formats: readonly OutputFormat[];
  readonly options?: readonly Option[];
  readonly examples: readonly [string, ...string[]];
  /**
   * @param args the positional arguments; required ones are there
   * @returns the exit code
   * @throws {AppError} anything; run.ts shows it
   */
  readonly run: (call: Invocation, args: readonly string[], options: Options) => Promise<number>;
}

/** Commands about one thing. */
export interface Noun {
  readonly name: string;
  readonly about: string;
  readonly verbs: readonly Verb<never>[];
}

/** Forgets the type of the options, so that verbs of all kinds fit one list. */
export function verb<Options>(spec: Verb<Options>): Verb<never> {
  return spec;
}
