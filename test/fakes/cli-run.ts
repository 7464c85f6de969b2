import { Readable } from 'node:stream';
import { run } from '../../controller/cli/run.js';
import type { Sink, World } from '../../controller/cli/world.js';
import { createExec } from '../../shared/exec.js';

export interface CliRun {
  readonly exitCode: number;
  readonly out: string;
  readonly err: string;
}

export interface CliOptions {
  readonly stdin?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Whether stdout, stderr and stdin are a terminal. */
  readonly isTerminal?: boolean;
  readonly signal?: AbortSignal;
  /** Instead of `stdin`: what a test types as it goes. */
  readonly input?: World['stdin'];
  /** Of the terminal. */
  readonly rows?: number;
  readonly columns?: number;
  /** Sees stdout as it comes. */
  readonly onOutput?: (text: string) => void;
  readonly onError?: (text: string) => void;
  readonly nowMs?: () => number;
  readonly attach?: World['attach'];
  readonly exec?: World['exec'];
  readonly home?: string;
}

class Text implements Sink {
  readonly isTTY: boolean;
  readonly rows: number | undefined;
  readonly columns: number | undefined;
  text = '';
  readonly #onWrite: (text: string) => void;

  constructor({ isTerminal = false, rows, columns }: CliOptions, onWrite: (text: string) => void = () => undefined) {
    this.isTTY = isTerminal;
    this.rows = rows;
    this.columns = columns;
    this.#onWrite = onWrite;
  }

  write(more: string | Uint8Array): void {
    const text = typeof more === 'string' ? more : Buffer.from(more).toString('latin1');
    this.text += text;
    this.#onWrite(text);
  }
}

/** The progress on a stderr that is no terminal, read as docs/cli.md says: the lines that begin with `{`. */
export function progressOf(err: string): Readonly<Record<string, unknown>>[] {
  const lines = err.split('\n').filter((line) => line.startsWith('{'));
  return lines.map((line) => JSON.parse(line) as Readonly<Record<string, unknown>>);
}

let lastId = 0;

/** A command line in this process: everything but the terminal and the environment is real. */
export async function runCli(args: readonly string[], options: CliOptions = {}): Promise<CliRun> {
  const { isTerminal = false } = options;
  const stdout = new Text(options, options.onOutput);
  const stderr = new Text(options, options.onError);
  const stdin = options.input ?? Readable.from(options.stdin === undefined ? [] : [Buffer.from(options.stdin)]);
  const world: World = {
    stdin: Object.assign(stdin, { isTTY: isTerminal }),
    stdout,
    stderr,
    exec: options.exec ?? createExec({}),
    attach: options.attach ?? (() => Promise.resolve(0)),
    startAside: () => undefined,
    pid: 1,
    programFolder: '/nonexistent',
    env: { ...options.env },
    user: () => ({ uid: 1000, home: options.home ?? '/home/me', name: 'me' }),
    timeZone: () => 'Europe/Paris',
    nowMs: options.nowMs ?? (() => Date.now()),
    newId: () => `test-${String(process.pid)}-${String((lastId += 1))}`,
    pause: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
    signal: options.signal ?? new AbortController().signal,
  };
  const exitCode = await run(args, world);
  return { exitCode, out: stdout.text, err: stderr.text };
}
