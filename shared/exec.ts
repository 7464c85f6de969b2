import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { Readable, type Writable } from 'node:stream';

/** Of each stream; what comes after is dropped, and the command goes on. */
const MAX_OUTPUT_BYTES = 16 * 1024 * 1024;
/** Characters of what a followed command says last on its standard error. */
const MAX_FOLLOWED_ERROR = 2000;
/** A command that ended may leave a process behind on purpose (xl create does), and that holds the pipes. */
const LEFT_OPEN_MS = 200;

export interface ExecOptions {
  /**
   * Milliseconds, 1 to 2**31 - 1; then the command and its children are killed. There is no default: choosing it is the
   * caller's job.
   */
  readonly timeoutMs: number;
  /** Ends the command as its limit does. */
  readonly signal?: AbortSignal | undefined;
  /**
   * Its standard input; left out: empty. Pieces are asked for as the command reads them. A source that fails ends the
   * command as an abort does.
   */
  readonly input?: string | Uint8Array | AsyncIterable<Uint8Array> | undefined;
  /** Besides what this process has; `LC_ALL=C` is set already. */
  readonly env?: Readonly<Record<string, string>> | undefined;
  readonly cwd?: string | undefined;
  /** Each piece of output as it comes, for progress. */
  readonly onOutput?: ((stream: 'stdout' | 'stderr', text: string) => void) | undefined;
}

export type ExecOutcome =
  | { readonly kind: 'ok' }
  /** `exitCode` is `undefined` when a signal ended it. */
  | { readonly kind: 'failed'; readonly exitCode: number | undefined; readonly endSignal: string | undefined }
  /** It could not be started: not there, not to be executed. `stderr` says why. */
  | { readonly kind: 'missing' }
  | { readonly kind: 'timeout' }
  | { readonly kind: 'aborted' };

/** What came of a command, as data: a command that fails is an answer. */
export type ExecResult = ExecOutcome & {
  readonly argv: readonly string[];
  readonly stdout: Buffer;
  readonly stderr: string;
};

/** Runs a command by its argv, never through a shell. It never rejects. */
export interface Exec {
  run(argv: readonly [string, ...string[]], options: ExecOptions): Promise<ExecResult>;
}

export interface FollowOptions {
  /** Ends the command. */
  readonly signal: AbortSignal;
  /** Each piece of its standard output as it comes; nothing is kept. */
  readonly onOutput: (text: string) => void;
}

/** Runs a command that goes on until it is told to end, and tells what it says. It never rejects. */
export interface Follow {
  follow(argv: readonly [string, ...string[]], options: FollowOptions): Promise<FollowEnding>;
}

export interface FollowEnding {
  readonly outcome: ExecOutcome;
  /** The last of its standard error. */
  readonly stderr: string;
}

/** @param environment of the process: commands need PATH, HOME and the like */
export function createFollow(environment: NodeJS.ProcessEnv): Follow {
  return { follow: (argv, options) => follow(argv, options, { ...environment, LC_ALL: 'C' }) };
}

/** @param environment of the process: commands need PATH, HOME and the like */
export function createExec(environment: NodeJS.ProcessEnv): Exec {
  return { run: (argv, options) => run(argv, options, { ...environment, ...options.env, LC_ALL: 'C' }) };
}

async function run(
  argv: readonly [string, ...string[]],
  options: ExecOptions,
  env: NodeJS.ProcessEnv,
): Promise<ExecResult> {
  if (options.signal?.aborted) return { argv, stdout: Buffer.alloc(0), stderr: '', kind: 'aborted' };
  const [file, ...args] = argv;
  // A process group of its own: what it started ends with it.
  const child = spawn(file, args, { cwd: options.cwd, detached: true, env, stdio: ['pipe', 'pipe', 'pipe'] });
  // One that does not read its input closes it: EPIPE says nothing that its exit code does not.
  child.stdin.on('error', () => undefined);
  const broken = new AbortController();
  feed(child.stdin, options.input ?? '', () => broken.abort());
  const stdout = collect(child.stdout, (text) => options.onOutput?.('stdout', text));
  const stderr = collect(child.stderr, (text) => options.onOutput?.('stderr', text));
  const signal = AbortSignal.any([broken.signal, ...(options.signal ? [options.signal] : [])]);
  const outcome = await outcomeOf(child, { ...options, signal });
  if (outcome.kind === 'missing') return { argv, stdout: Buffer.alloc(0), stderr: outcome.reason, kind: 'missing' };
  await closed(child);
  return { argv, stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr).toString(), ...outcome };
}

async function follow(
  [file, ...args]: readonly [string, ...string[]],
  { signal, onOutput }: FollowOptions,
  env: NodeJS.ProcessEnv,
): Promise<FollowEnding> {
  if (signal.aborted) return { outcome: { kind: 'aborted' }, stderr: '' };
  const child = spawn(file, args, { detached: true, env, stdio: ['pipe', 'pipe', 'pipe'] });
  child.stdin.on('error', () => undefined);
  child.stdin.end();
  child.stdout.setEncoding('utf8').on('data', onOutput);
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr = (stderr + text).slice(-MAX_FOLLOWED_ERROR)));
  const ending = await outcomeOf(child, { signal });
  await closed(child);
  if (ending.kind === 'missing') return { outcome: { kind: 'missing' }, stderr: ending.reason };
  return { outcome: ending, stderr };
}

/** The last 2,000 characters of what a command said, for the details of an error. */
export function outputOf({ stdout, stderr }: ExecResult): string {
  const text = stderr.trim() === '' ? stdout.toString() : stderr;
  return text.trim().slice(-2000);
}

function feed(stdin: Writable, input: NonNullable<ExecOptions['input']>, onBroken: () => void): void {
  if (typeof input === 'string' || input instanceof Uint8Array) {
    stdin.end(input);
    return;
  }
  const source = Readable.from(input);
  source.once('error', onBroken);
  stdin.once('close', () => source.destroy());
  source.pipe(stdin);
}

type Child = ChildProcessByStdio<Writable, Readable, Readable>;
type Ending = Exclude<ExecOutcome, { kind: 'missing' }> | { readonly kind: 'missing'; readonly reason: string };

interface Limits {
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
}

function outcomeOf(child: Child, { timeoutMs, signal }: Limits): Promise<Ending> {
  return new Promise((resolve) => {
    let cut: 'timeout' | 'aborted' | undefined;
    const kill = (why: 'timeout' | 'aborted'): void => {
      cut ??= why;
      killGroup(child);
    };
    const abort = (): void => kill('aborted');
    const timer = timeoutMs === undefined ? undefined : setTimeout(kill, timeoutMs, 'timeout');
    signal?.addEventListener('abort', abort, { once: true });
    const end = (ending: Ending): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
      resolve(ending);
    };
    child.once('error', ({ message }) => end({ kind: 'missing', reason: message }));
    child.once('exit', (code, endSignal) => {
      if (cut !== undefined) return end({ kind: cut });
      if (code === 0) return end({ kind: 'ok' });
      end({ kind: 'failed', exitCode: code ?? undefined, endSignal: endSignal ?? undefined });
    });
  });
}

function killGroup({ pid }: Child): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // It ended in the meantime.
  }
}

function collect(stream: Readable, tell: (text: string) => void): readonly Buffer[] {
  const pieces: Buffer[] = [];
  let bytes = 0;
  stream.on('data', (piece: Buffer) => {
    if (bytes < MAX_OUTPUT_BYTES) pieces.push(piece);
    bytes += piece.length;
    tell(piece.toString());
  });
  return pieces;
}

async function closed(child: Child): Promise<void> {
  const streams = [child.stdout, child.stderr];
  const all = Promise.all(streams.map((stream) => isClosed(stream)));
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise((resolve) => (timer = setTimeout(resolve, LEFT_OPEN_MS)));
  await Promise.race([all, limit]);
  clearTimeout(timer);
  for (const stream of streams) stream.destroy();
}

function isClosed(stream: Readable): Promise<void> {
  return new Promise((resolve) => {
    if (stream.closed) return resolve();
    stream.once('close', resolve);
  });
}
