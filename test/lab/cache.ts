import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';
import { must } from './command.js';

const HERE = join(process.cwd(), 'test', 'lab');
/** Whatever changes one of these changes what is built. */
const SOURCES = ['build.sh', 'image', 'qemu.ts'];
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
  return { folder, isBuilt: existsSync(folder) };
}

/**
 * Builds into a folder beside, and moves it into its place when `finish` has made the snapshots: what stands there is
 * complete. Images of other keys are removed.
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
  for (const name of readdirSync(root)) {
    if (/^[\da-f]{16}(\.half)?$/.test(name) && !folder.endsWith(name)) rmSync(join(root, name), { recursive: true });
  }
}

function filesIn(path: string): readonly string[] {
  if (!statSync(path).isDirectory()) return [path];
  return readdirSync(path)
    .toSorted()
    .flatMap((name) => filesIn(join(path, name)));
}
