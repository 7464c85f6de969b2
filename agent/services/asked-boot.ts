import type { BootMethod } from '../../shared/domain/vm-shape.js';
import { wrongState } from '../../shared/errors.js';
import { bootFiles as namedFiles, chooseAsked } from '../domain/image/boot-choice.js';
import { withBoot } from '../domain/image/boot-keys.js';
import type { XlCfg } from '../domain/xl-cfg/syntax.js';
import type { BootFiles } from '../ports/boot-files.js';
import type { ReportProgress } from './order-runner.js';

/**
 * The cfg of a copy, booted as is asked for; else as its source.
 *
 * @throws {AppError} as {@link refuseMissing}; `wrong_state` (no such bootloader), `invalid` (one that cannot boot such a domain)
 */
export async function bootAsAsked(
  cfg: XlCfg,
  asked: BootMethod | undefined,
  bootFiles: BootFiles,
  progress: ReportProgress,
): Promise<XlCfg> {
  if (asked === undefined) return cfg;
  await refuseMissing(asked, bootFiles);
  const { boot, reason } = chooseAsked(asked, await bootFiles.find());
  progress(`boots by ${reason}`);
  return withBoot(cfg, boot);
}

/** @throws {AppError} `wrong_state` for a file that was named and is not there, `invalid` for what is no path */
export async function refuseMissing(asked: BootMethod | undefined, bootFiles: BootFiles): Promise<void> {
  for (const file of namedFiles(asked)) {
    if (await bootFiles.exists(file)) continue;
    throw wrongState(`The host has no ${file}`, { path: file, hint: 'ls /boot, on the host' });
  }
}
