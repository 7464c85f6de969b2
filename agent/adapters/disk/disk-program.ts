import { AppError } from '../../../shared/errors.js';
import { outputOf, type Exec } from '../../../shared/exec.js';

export interface ProgramLimits {
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  /** For the message; left out: the last argument. */
  readonly disk?: string | undefined;
}

/** By Debian's names, where the program has another one. */
const PACKAGES: Readonly<Record<string, string>> = {
  'qemu-img': 'qemu-utils',
  mkswap: 'util-linux',
  blkdiscard: 'util-linux',
  dd: 'coreutils',
};

/**
 * Runs a program that makes a disk.
 *
 * @returns what it says
 * @throws {AppError} `unavailable`, with the package if it is missing
 */
export async function runProgram(
  exec: Exec,
  command: readonly [string, ...string[]],
  { timeoutMs, signal, disk = command.at(-1) }: ProgramLimits,
): Promise<string> {
  const result = await exec.run(command, { timeoutMs, signal });
  signal.throwIfAborted();
  if (result.kind === 'ok') return result.stdout.toString();
  const [program] = command;
  throw new AppError('unavailable', `The disk ${disk ?? ''} could not be made: ${program} failed`, {
    output: outputOf(result),
    ...(result.kind === 'missing' && { hint: `apt-get install ${PACKAGES[program] ?? program}, on the host` }),
  });
}
