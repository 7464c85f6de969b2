import { access, mkdir, mkdtemp, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import type { InstallerSource } from '../../../shared/domain/installer.js';
import { AppError, messageOf, notFound } from '../../../shared/errors.js';
import { outputOf, type Exec, type ExecResult } from '../../../shared/exec.js';
import type { InstalledImage } from '../../ports/installer.js';

export const INSTALL_MS = 3_600_000;

export type Tell = (what: string) => void;

interface Program {
  /** That do nothing. */
  readonly argv: readonly [string, ...string[]];
  /** The package that it is of. */
  readonly debian: string;
}

/** @throws {AppError} `unavailable` if the host has not all of them */
export async function refuseMissing(exec: Exec, programs: readonly Program[], signal: AbortSignal): Promise<void> {
  for (const { argv, debian } of programs) {
    const { kind } = await exec.run(argv, { timeoutMs: 10_000, signal });
    if (kind !== 'missing') continue;
    throw new AppError('unavailable', `The host cannot install a system: it has no ${argv[0]}`, {
      hint: `apt-get install ${debian}, on the host`,
    });
  }
}

/** @param hint how one is made. @throws {AppError} `not_found` */
export async function refuseNoTarball(root: string, { tarball }: InstallerSource, hint: string): Promise<void> {
  if (tarball === undefined || (await isThere(join(root, tarball)))) return;
  throw notFound(`The host has no ${tarball}`, { path: tarball, hint });
}

/**
 * Has a system installed in a folder of its own, which goes with the image; what fails leaves nothing.
 *
 * @param needed bytes that are to be free there
 */
export async function installIn(
  folder: string,
  needed: number,
  signal: AbortSignal,
  install: (work: string) => Promise<Omit<InstalledImage, 'remove'>>,
): Promise<InstalledImage> {
  const work = await makeWork(folder, needed);
  const remove = (): Promise<void> => rm(work, { recursive: true, force: true }).catch(() => undefined);
  try {
    return { ...(await install(work)), remove };
  } catch (error) {
    await remove();
    signal.throwIfAborted();
    if (error instanceof AppError) throw error;
    throw new AppError('unavailable', `The system could not be installed: ${messageOf(error)}`, {}, error);
  }
}

async function makeWork(folder: string, needed: number): Promise<string> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const { bavail, bsize } = await statfs(folder);
  if (bavail * bsize < needed) {
    throw new AppError('exhausted', `There is no room in ${folder} to install a system`, {
      needed: String(needed),
      free: String(bavail * bsize),
      hint: 'remove what is not needed there, or take another host',
    });
  }
  return mkdtemp(join(folder, 'install-'));
}

export function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

/** @param log that the program wrote */
export function failure(program: string, result: ExecResult, signal: AbortSignal, log = ''): AppError {
  signal.throwIfAborted();
  if (result.kind === 'timeout') return new AppError('timeout', `${program} did not end within its time`);
  const output = [log.trim().slice(-2000), outputOf(result).slice(-1000)].filter((text) => text !== '').join('\n');
  return new AppError('unavailable', `The system could not be installed: ${program} failed`, { output });
}
