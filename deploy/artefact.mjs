// What `domherd host add` copies to a dom0: one archive, `dist/agent/domherd-agent-VERSION-ARCH.tar.gz`, and
// `dist/agent/artefact.json` that tells of it. A dom0 has no Node: this machine's own goes along.
//
// The archive is two tars in a row, each compressed by itself (tar -i reads both): the agent, then Node. A dom0 that has this
// Node already is sent the first alone. VERSION ends in a hash of all that is in it: other bits, another folder.
import { createHash } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { makeTar } from './tar.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const cache = join(root, 'node_modules', '.cache', 'domherd');

/** As `uname -m` has it. */
const ARCH = { x64: 'x86_64', arm64: 'aarch64' }[process.arch] ?? process.arch;

/**
 * Makes the archive, if there is none of the same content.
 *
 * @param {{ readonly outRoot?: string }} [options] where `dist/agent` has the bundled agent
 * @returns {Promise<{ readonly path: string, readonly version: string }>}
 */
export async function buildArtefact({ outRoot = root } = {}) {
  const folder = join(outRoot, 'dist', 'agent');
  const node = await packNode();
  const files = await agentFiles(folder);
  const { version: release } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'));
  const version = `${release}+${contentHash(files, node.sha256)}`;
  const facts = {
    version,
    arch: ARCH,
    glibc: node.glibc,
    node: process.versions.node,
    nodeSha256: node.sha256,
    unpackedKib: Math.ceil((node.size + files.reduce((sum, { content }) => sum + content.length, 0)) / 1024),
  };
  const own = [
    { path: 'bin/domherd-agent', mode: 0o755, content: wrapper(version) },
    { path: 'manifest.json', mode: 0o644, content: json(facts) },
  ];
  const agent = gzipSync(makeTar([...files, ...own]), { level: 9 });
  const file = `domherd-agent-${version}-${ARCH}.tar.gz`;
  const whole = Buffer.concat([agent, node.packed]);
  await writeWhole(join(folder, file), whole);
  const sizes = { bytes: whole.length, agentBytes: agent.length };
  await writeWhole(join(folder, 'artefact.json'), json({ ...facts, file, ...sizes }));
  return { path: join(folder, file), version };
}

function json(value) {
  return Buffer.from(`${JSON.stringify(value, null, 2)}\n`);
}

/** `VERSION` itself, not `current`: one that runs is told apart from one that was installed after it. */
function wrapper(version) {
  const home = `/opt/domherd/${version}`;
  return Buffer.from(`#!/bin/sh\nDOMHERD_BUILD=${version} exec ${home}/bin/node ${home}/domherd-agent.mjs "$@"\n`);
}

async function agentFiles(folder) {
  const one = async (path, from, mode = 0o644) => ({ path, mode, content: await readFile(from) });
  return [
    await one('LICENSE', join(root, 'LICENSE')),
    await one('domherd-agent.mjs', join(folder, 'domherd-agent.mjs'), 0o755),
    await one('domherd-agent.mjs.LEGAL.txt', join(folder, 'domherd-agent.mjs.LEGAL.txt')),
    ...(await unitFiles()),
  ];
}

/** The units of a dom0, as they go below /etc/systemd/system; there the programs are not in /usr/bin. */
async function unitFiles() {
  const folder = join(root, 'deploy', 'systemd');
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const paths = entries
    .filter((entry) => entry.isFile() && !entry.name.startsWith('domherd-controller'))
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
    .sort();
  return Promise.all(
    paths.map(async (path) => {
      const text = await readFile(join(folder, path), 'utf8');
      const content = Buffer.from(text.replaceAll('/usr/bin/domherd-agent', '/opt/domherd/current/bin/domherd-agent'));
      return { path: `systemd/${path}`, mode: 0o644, content };
    }),
  );
}

function contentHash(files, nodeSha256) {
  const hash = createHash('sha256').update(nodeSha256);
  for (const { path, mode, content } of files) hash.update(`\n${path} ${mode} ${content.length}\n`).update(content);
  return hash.digest('hex').slice(0, 8);
}

/** This process's Node without its debug symbols, packed. It takes seconds, so it is kept. */
async function packNode() {
  const { size, mtimeMs } = await stat(process.execPath);
  const key = createHash('sha256').update(`1 ${process.execPath} ${size} ${mtimeMs}`).digest('hex').slice(0, 16);
  const [factsFile, packedFile] = [join(cache, `node-${key}.json`), join(cache, `node-${key}.tar.gz`)];
  try {
    return { ...JSON.parse(await readFile(factsFile, 'utf8')), packed: await readFile(packedFile) };
  } catch {
    const content = await readStripped(process.execPath);
    const packed = gzipSync(makeTar([{ path: 'bin/node', mode: 0o755, content }]), { level: 6 });
    const sha256 = createHash('sha256').update(content).digest('hex');
    const facts = { sha256, size: content.length, glibc: neededGlibc(content) };
    await mkdir(cache, { recursive: true });
    await writeWhole(packedFile, packed);
    await writeWhole(factsFile, json(facts));
    return { ...facts, packed };
  }
}

async function readStripped(path) {
  const folder = await mkdtemp(join(tmpdir(), 'domherd-node-'));
  try {
    const out = join(folder, 'node');
    execFileSync('strip', ['-o', out, path], { stdio: 'ignore', timeout: 60_000 });
    return await readFile(out);
  } catch {
    // No binutils here: it is 12 MB larger then.
    return await readFile(path);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The newest glibc that its symbols ask for, "2.28". */
function neededGlibc(binary) {
  let newest = [0, 0];
  const mark = Buffer.from('GLIBC_2.');
  for (let at = binary.indexOf(mark); at >= 0; at = binary.indexOf(mark, at + 1)) {
    const match = /^GLIBC_(\d+)\.(\d+)(?:\.\d+)?\0/.exec(binary.toString('latin1', at, at + 16));
    if (match === null) continue;
    const found = [Number(match[1]), Number(match[2])];
    if (found[0] > newest[0] || (found[0] === newest[0] && found[1] > newest[1])) newest = found;
  }
  return newest.join('.');
}

async function writeWhole(path, content) {
  const temporary = `${path}.${process.pid}.tmp`;
  await writeFile(temporary, content);
  await rename(temporary, path);
}
