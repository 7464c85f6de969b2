// Bundles the three programs: `node deploy/build.mjs`. Each is plain JavaScript for Node 20 and needs no node_modules,
// but for the controller's better-sqlite3.
import { chmod, rm } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');

/** To be run by its name; and CommonJS packages inside an ES module look for the three below. No entry has a `#!` of its own. */
const BANNER = [
  '#!/usr/bin/env node',
  "import { createRequire as $createRequire } from 'node:module';",
  "import { dirname as $dirname } from 'node:path';",
  "import { fileURLToPath as $fileURLToPath } from 'node:url';",
  'const require = $createRequire(import.meta.url);',
  'const __filename = $fileURLToPath(import.meta.url);',
  'const __dirname = $dirname(__filename);',
].join('\n');

const COMMON = {
  absWorkingDir: root,
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
  sourcemap: 'linked',
  minify: false,
  metafile: true,
  logLevel: 'warning',
  legalComments: 'linked',
  outExtension: { '.js': '.mjs' },
};

/** @type {readonly { name: string, entry: string, folder: string, file: string, options: import('esbuild').BuildOptions }[]} */
const PROGRAMS = [
  {
    name: 'agent',
    entry: 'agent/main.ts',
    folder: 'dist/agent',
    file: 'domherd-agent',
    // Node keeps the text in memory for as long as it runs: a third of it is blank. Short lines, since Node prints the whole
    // line of an uncaught error.
    options: { minifyWhitespace: true, lineLimit: 200 },
  },
  {
    name: 'controller',
    entry: 'controller/main.ts',
    folder: 'dist/controller',
    file: 'domherd-controller',
    options: { external: ['better-sqlite3'] },
  },
  // In pieces, so that --help does not load gRPC.
  {
    name: 'cli',
    entry: 'controller/cli/main.ts',
    folder: 'dist/cli',
    file: 'domherd',
    options: { splitting: true, chunkNames: 'chunk/[name]-[hash]' },
  },
];

/**
 * Builds every program that has an entry point.
 *
 * @param {{ readonly only?: readonly string[], readonly outRoot?: string }} [options] `only`: agent, controller, cli;
 *   `outRoot`: where `dist` is made instead of in the repository
 * @returns {Promise<Readonly<Record<string, { readonly path: string, readonly metafile: import('esbuild').Metafile }>>>}
 *   by name
 */
export async function buildAll({ only = PROGRAMS.map(({ name }) => name), outRoot = root } = {}) {
  const wanted = PROGRAMS.filter(({ name, entry }) => only.includes(name) && existsSync(join(root, entry)));
  const built = await Promise.all(wanted.map((program) => buildOne(program, outRoot)));
  return Object.fromEntries(built);
}

async function buildOne({ name, entry, folder, file, options }, outRoot) {
  const outdir = join(outRoot, folder);
  await rm(outdir, { recursive: true, force: true });
  const { metafile } = await build({
    ...COMMON,
    ...options,
    entryPoints: { [file]: entry },
    outdir,
    banner: { js: BANNER },
  });
  const path = join(outdir, `${file}.mjs`);
  await chmod(path, 0o755);
  return [name, { path, metafile }];
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const [name, { path, metafile }] of Object.entries(await buildAll())) {
    const bytes = Object.entries(metafile.outputs)
      .filter(([output]) => output.endsWith('.mjs'))
      .reduce((sum, [, output]) => sum + output.bytes, 0);
    console.log(`${name.padEnd(10)} ${path} ${(bytes / 1024).toFixed(0)} KiB`);
  }
  const { buildArtefact } = await import('./artefact.mjs');
  console.log(`artefact   ${(await buildArtefact()).path}`);
}
