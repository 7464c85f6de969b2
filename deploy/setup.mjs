// Brings a fresh clone to where everything runs: `node deploy/setup.mjs [--build]`. Needs nothing but Node 20 and npm.
// Does nothing, in a few milliseconds, when all is there already.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const marker = join(root, 'node_modules', '.domherd-lock');

function fail(message, hint) {
  console.error(`domherd: ${message}\nhint: ${hint}`);
  process.exit(5);
}

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major === 20 && minor >= 19) return;
  fail(
    `domherd needs Node 20.19 or a later 20, this is ${process.version}`,
    'install Node 20, for example from NodeSource',
  );
}

function has(program) {
  try {
    execFileSync(program, ['--version'], { stdio: 'ignore', timeout: 10_000 });
    return true;
  } catch {
    return false;
  }
}

/** better-sqlite3 is compiled where no prebuilt binary can be downloaded: about two minutes. */
function checkCompiler() {
  const missing = ['python3', 'make', 'g++'].filter((program) => !has(program));
  if (missing.length === 0) return;
  console.error(
    `domherd: ${missing.join(', ')} not found: if no prebuilt SQLite can be downloaded, the next step fails`,
  );
  console.error('hint: apt-get install -y build-essential python3');
}

function lockHash() {
  return createHash('sha256')
    .update(readFileSync(join(root, 'package-lock.json')))
    .digest('hex');
}

function packagesOf(path) {
  return Object.entries(JSON.parse(readFileSync(path, 'utf8')).packages).filter(([name]) => name !== '');
}

/** A lock that tells only otherwise who needs what changes nothing in node_modules: SQLite need not be compiled for it. */
function isInstalled() {
  const hidden = join(root, 'node_modules', '.package-lock.json');
  if (!existsSync(hidden)) return false;
  const locked = packagesOf(join(root, 'package-lock.json'));
  const present = new Map(packagesOf(hidden).map(([name, { version }]) => [name, version]));
  const isThere = ([name, { version, optional }]) =>
    present.get(name) === version || (optional === true && !present.has(name));
  return locked.every(isThere) && [...present.keys()].every((name) => locked.some(([known]) => known === name));
}

function installPackages() {
  const wanted = lockHash();
  if (existsSync(marker) && readFileSync(marker, 'utf8') === wanted) return;
  if (existsSync(marker) && isInstalled()) {
    writeFileSync(marker, wanted);
    return;
  }
  checkCompiler();
  console.error('domherd: installing packages (SQLite may compile for two minutes)');
  try {
    execFileSync('npm', ['ci', '--no-audit', '--no-fund'], { cwd: root, stdio: ['ignore', 2, 2], timeout: 900_000 });
  } catch {
    fail(
      'npm ci failed: its own words are above',
      'where a compiler is missing: apt-get install -y build-essential python3',
    );
  }
  writeFileSync(marker, wanted);
}

checkNode();
installPackages();
if (process.argv.includes('--build')) {
  const [{ buildAll }, { buildArtefact }] = await Promise.all([import('./build.mjs'), import('./artefact.mjs')]);
  await buildAll();
  await buildArtefact();
}
