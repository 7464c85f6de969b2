import { CommanderError } from 'commander';
import { AppError, toAppError } from '../../shared/errors.js';
import { EXIT_CODE } from '../../shared/exit-code.js';
import { formatFailure } from '../../shared/failure-text.js';
import { DEFAULT_HINT, INTERRUPTED } from './failure.js';
import { buildProgram, type Outcome } from './program.js';
import type { World } from './world.js';

/** One command line from start to exit code. Never throws. */
export async function run(argv: readonly string[], world: World): Promise<number> {
  const outcome: Outcome = { exitCode: 0 };
  try {
    await buildProgram(world, outcome, argv).parseAsync(argv, { from: 'user' });
    return outcome.exitCode;
  } catch (error) {
    return failed(error, world);
  }
}

function failed(error: unknown, world: World): number {
  if (world.signal.aborted) return INTERRUPTED;
  // commander has said it already; help and version are no failures.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_CODE.invalid;
  const known = toAppError(error);
  world.stderr.write(formatFailure('domherd', known, DEFAULT_HINT[known.code]));
  if (known.code === 'internal' && world.env['DOMHERD_DEBUG']) world.stderr.write(`${stackOf(error)}\n`);
  return EXIT_CODE[known.code];
}

function stackOf(error: unknown): string {
  const cause = error instanceof AppError ? error.cause : error;
  return cause instanceof Error ? (cause.stack ?? cause.message) : String(cause);
}
