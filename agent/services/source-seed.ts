import type { DiskImage } from '../domain/new-disk.js';
import { noSeed, seedPath } from '../domain/seed/seed-disk.js';
import { isOwnSeed } from '../domain/seed/seed-files.js';
import type { XlCfg } from '../domain/xl-cfg/syntax.js';
import type { SeedReader } from '../ports/seed-maker.js';

/**
 * @param disks that a copy gets copies of
 * @throws {AppError} `wrong_state` for a VM whose copies cannot be given user data; `unavailable`
 */
export async function refuseSeedless(
  name: string,
  cfg: XlCfg,
  disks: readonly DiskImage[],
  seeds: SeedReader,
  signal: AbortSignal,
): Promise<void> {
  const path = seedPath(cfg);
  // One that copies share with their source is not written.
  const isCopied = disks.some((disk) => disk.path === path);
  const seed = isCopied && path !== undefined ? await seeds.read(path, signal) : undefined;
  if (seed === undefined || !isOwnSeed(seed)) throw noSeed(name);
}
