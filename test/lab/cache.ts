import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, utimesSync } from 'node:fs';
import { join, relative } from 'node:path';
import { must } from './command.js';

const HERE = join(process.cwd(), 'test', 'lab');
/** Whatever changes one of these changes what is built. */
const SOURCES = ['build.sh', 'image', 'qemu.ts'];
const UNUSED_MS = 7 * 24 * 3_600_000;
/** A minute on a quiet machine; the mirror may be slow. */
const BUILD_MS = 1_200_000;

/** Where the images for this source tree, these packages and this QEMU are, or will be. */
export interface LabCache {
  readonly folder: string;
  readonly isBuilt: boolean;
}

/** Installs the packages that the lab needs, if they are missing. */
export async function openCache(root: string): Promise<LabCache> {
  const versions = await must([join(HERE, 'build.sh'), 'versions'], { limitMs: BUILD_MS });
  const hash = createHash('sha256').update(versions);
  for (const file of SOURCES.flatMap((source) => filesIn(join(HERE, source))))
    hash.update(relative(HERE, file)).update(readFileSync(file));
  const folder = join(root, hash.digest('hex').slice(0, 16));
  const isBuilt = existsSync(folder);
  if (isBuilt) utimesSync(folder, new Date(), new Date());
  return { folder, isBuilt };
}

/**
 * Builds into a folder beside, and moves it into its place when `finish` has made the snapshots: what stands there is
 * complete.
 */
export async function fillCache(
  root: string,
  { folder }: LabCache,
  finish: (folder: string) => Promise<void>,
): Promise<void> {
  const half = `${folder}.half`;
  rmSync(half, { recursive: true, force: true });
  mkdirSync(half, { recursive: true, mode: 0o700 });
  await must([join(HERE, 'build.sh'), 'images', half], { limitMs: BUILD_MS });
  await finish(half);
  renameSync(half, folder);
  removeUnused(root);
}

/** Another checkout may be using its images at this moment. */
function removeUnused(root: string): void {
  for (const name of readdirSync(root).filter((one) => /^[\da-f]{16}(\.half)?$/.test(one))) {
    const path = join(root, name);
    if (Date.now() - statSync(path).mtimeMs > UNUSED_MS) rmSync(path, { recursive: true });
  }
}

function filesIn(path: string): readonly string[] {
  if (!statSync(path).isDirectory()) return [path];
  return readdirSync(path)
    .toSorted()
    .flatMap((name) => filesIn(join(path, name)));
}
