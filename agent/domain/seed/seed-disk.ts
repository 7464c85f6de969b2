import { wrongState, type AppError } from '../../../shared/errors.js';
import { listDisks } from '../xl-cfg/disk.js';
import type { XlCfg } from '../xl-cfg/syntax.js';
import { SEED_VDEV } from './seed-files.js';

/** Of the disk that may be a seed: only a file of the guest's own can be one. */
export function seedPath(cfg: XlCfg): string | undefined {
  try {
    const seed = listDisks(cfg).find(({ vdev }) => vdev === SEED_VDEV);
    const isFile = seed?.format === 'raw' && seed.script === undefined && /^\/(?!dev\/)/.test(seed.target);
    return isFile ? seed.target : undefined;
  } catch {
    return undefined;
  }
}

/** Of a VM whose copies cannot be given user data. */
export function noSeed(name: string): AppError {
  return wrongState(`${name} has no seed of domherd's for cloud-init, which user data could go into`, {
    hint: 'leave --user-data out, or copy a VM that was made of an --image with cloud-init in it',
  });
}
