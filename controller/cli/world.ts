import type { Readable } from 'node:stream';
import type { Exec } from '../../shared/exec.js';

/** A stream to write to, as far as the commands need it. */
export interface Sink {
  write(text: string | Uint8Array): unknown;
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
  readonly rows?: number | undefined;
}

/** Everything outside the program; main.ts makes the real one, tests make their own. */
export interface World {
  readonly stdin: Readable & {
    readonly isTTY?: boolean | undefined;
    /** Only of a terminal: each key at once, none with a meaning of its own. */
    readonly setRawMode?: (isRaw: boolean) => unknown;
  };
  /** Data only. */
  readonly stdout: Sink;
  /** Everything else. */
  readonly stderr: Sink;
  readonly exec: Exec;
  /**
   * Runs a program on this terminal, until it ends.
   *
   * @returns its exit code; 128 and the number of the signal that ended it
   * @throws {AppError} `not_found` if there is no such program
   */
  readonly attach: (argv: readonly [string, ...string[]]) => Promise<number>;
  /** Starts this program once more, in the background: it outlives this process. Its output is appended to a file. */
  readonly startAside: (args: readonly string[], logPath: string) => void;
  readonly pid: number;
  /** Where this program is, absolute: the agent to install is beside it. */
  readonly programFolder: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The person at the keyboard; `name` may be empty where the system knows no name for the uid. */
  readonly user: () => { readonly uid: number; readonly home: string; readonly name: string };
  /** IANA name of the local time zone. */
  readonly timeZone: () => string;
  readonly nowMs: () => number;
  /** 8 to 64 characters of [A-Za-z0-9._-], never the same twice. */
  readonly newId: () => string;
  /** Resolves after `ms` milliseconds, or at once when `signal` is aborted. */
  readonly pause: (ms: number, signal: AbortSignal) => Promise<void>;
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal;
}
