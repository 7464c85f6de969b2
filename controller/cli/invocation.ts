import type { OutputFormat } from './format.js';
import type { World } from './world.js';

/** Options that every command takes. */
export interface GlobalOptions {
  readonly output?: string | undefined;
  readonly headers: boolean;
  readonly verbose?: boolean | undefined;
  readonly socket?: string | undefined;
  readonly controller?: string | undefined;
  readonly identity?: string | undefined;
  readonly requestId?: string | undefined;
}

/** One run of one command. */
export interface Invocation {
  readonly world: World;
  readonly global: GlobalOptions;
  readonly format: OutputFormat;
  /** Data as text, in the format that was asked for; JSON unless that is YAML. Ends with a newline. */
  readonly writeData: (data: unknown) => string;
  /** What stands behind `--`, which is in the arguments too. */
  readonly trailing: readonly string[];
  /** Makes the whole command one intent: a call repeated with it is not carried out twice. */
  readonly requestId: string;
  /** The command line as it was typed, without the name of the program. */
  readonly line: readonly string[];
}
