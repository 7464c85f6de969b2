import { createExec, createFollow, type FollowOptions } from '../../shared/exec.js';

const exec = createExec(process.env);

export interface CommandResult {
  /** -1 when a signal or its limit ended it, or it could not be started; `stderr` says which. */
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CommandOptions {
  /** Milliseconds. */
  readonly limitMs: number;
  readonly input?: string | undefined;
  readonly env?: Readonly<Record<string, string>> | undefined;
}

/** Runs a command; that it fails is an answer. */
export async function run(
  argv: readonly [string, ...string[]],
  { limitMs, input, env }: CommandOptions,
): Promise<CommandResult> {
  const result = await exec.run(argv, { timeoutMs: limitMs, input, env });
  const stdout = result.stdout.toString();
  if (result.kind === 'ok') return { exitCode: 0, stdout, stderr: result.stderr };
  if (result.kind === 'failed' && result.exitCode !== undefined)
    return { exitCode: result.exitCode, stdout, stderr: result.stderr };
  return { exitCode: -1, stdout, stderr: `${result.stderr}\n${argv.join(' ')}: ${result.kind}`.trim() };
}

/** Runs a command until the signal ends it. */
export function follow(
  argv: readonly [string, ...string[]],
  { env, ...options }: FollowOptions & { readonly env: Readonly<Record<string, string>> },
): Promise<unknown> {
  return createFollow({ ...process.env, ...env }).follow(argv, options);
}

/** @throws {Error} with what it said, when it fails */
export async function must(argv: readonly [string, ...string[]], options: CommandOptions): Promise<string> {
  const { exitCode, stdout, stderr } = await run(argv, options);
  if (exitCode !== 0)
    throw new Error(`${argv.join(' ')}: exit code ${String(exitCode)}\n${(stderr + stdout).trim().slice(-4000)}`);
  return stdout;
}

/** For a remote shell: one word, whatever is in it. */
export function quote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`;
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/**
 * Asks again and again until the answer is neither `undefined` nor `false`.
 *
 * @param limitMs milliseconds; one question more is asked when they are over
 * @throws {Error} that names what was waited for, and the last error of `ask`
 */
export async function waitFor<T>(
  what: string,
  ask: () => Promise<T | undefined | false>,
  limitMs: number,
  pauseMs = 500,
): Promise<T> {
  const end = Date.now() + limitMs;
  for (;;) {
    const isLast = Date.now() >= end;
    let reason = '';
    try {
      const answer = await ask();
      if (answer !== undefined && answer !== false) return answer;
    } catch (error) {
      reason = `: ${error instanceof Error ? error.message : String(error)}`;
    }
    if (isLast) throw new Error(`waited ${String(limitMs / 1000)} s for ${what}${reason}`);
    await sleep(pauseMs);
  }
}
