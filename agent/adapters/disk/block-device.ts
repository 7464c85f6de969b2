import { readFile, stat } from 'node:fs/promises';

const SECTOR_BYTES = 512;

/** As the kernel tells it. @returns `undefined`: there is no block device */
export async function deviceBytes(path: string): Promise<number | undefined> {
  const found = await stat(path).catch(() => undefined);
  if (!found?.isBlockDevice()) return undefined;
  // Linux's numbers: 12 bits of major, 20 of minor, in the kernel's own order.
  const major = Math.floor(found.rdev / 256) % 4096;
  const minor = (found.rdev % 256) + Math.floor(found.rdev / 2 ** 20) * 256;
  const sectors = await readFile(`/sys/dev/block/${major}:${minor}/size`, 'utf8').catch(() => undefined);
  return sectors === undefined ? undefined : Number(sectors) * SECTOR_BYTES;
}
