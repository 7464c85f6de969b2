import { open } from 'node:fs/promises';
import { AppError } from '../../../shared/errors.js';
import { type Exec, type ExecResult, outputOf } from '../../../shared/exec.js';

/** A word with the kernel. */
const ATTACH_MS = 30_000;

export interface Piece {
  /** A file. */
  readonly disk: string;
  /** Bytes from its beginning. */
  readonly at: number;
  readonly sizeBytes: number;
}

/**
 * A piece of a file as a block device of its own, for programs that know files as wholes only. Nobody mounts it; it goes when
 * `use` has ended, and when this process dies.
 *
 * @throws {AppError} `unavailable` if there is no loop device; what `use` throws
 */
export async function withPieceDevice<T>(
  exec: Exec,
  { disk, at, sizeBytes }: Piece,
  signal: AbortSignal,
  use: (device: string) => Promise<T>,
): Promise<T> {
  const place = ['--offset', String(at), '--sizelimit', String(sizeBytes)];
  const attached = await losetup(exec, ['--find', '--show', ...place, disk], signal);
  const device = attached.stdout.toString().trim();
  const held = await open(device, 'r');
  try {
    // Of a device that somebody has open, this is done when the last one closes it.
    await losetup(exec, ['--detach', device], signal);
    return await use(device);
  } finally {
    await held.close();
  }
}

async function losetup(exec: Exec, options: readonly string[], signal: AbortSignal): Promise<ExecResult> {
  const result = await exec.run(['losetup', ...options], { timeoutMs: ATTACH_MS, signal });
  if (result.kind === 'ok') return result;
  throw new AppError('unavailable', 'a partition in a file cannot be made a device', {
    output: outputOf(result),
    hint: result.kind === 'missing' ? 'apt-get install mount' : 'modprobe loop, on the host',
  });
}
