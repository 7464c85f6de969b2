// A distribution is installed into a folder, of which mke2fs makes a file system.
//
// Invariants:
// - Nothing is mounted that the host sees: what debootstrap mounts is in a namespace that ends with it.
// - What is in the folder is the distribution's; links in it are not followed out of it, since only its own are made there.
import { mkdir, open, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { debootstrapCommand, debootstrapPhase } from '../../domain/install/debootstrap.js';
import { aptMirror } from '../../domain/install/apt-source.js';
import { guestFiles, kernelRelease, withRootLocked, type GuestFiles } from '../../domain/install/guest-file.js';
import { invalid } from '../../../shared/errors.js';
import type { Exec } from '../../../shared/exec.js';
import type { InstalledImage, InstallSettings } from '../../ports/installer.js';
import { failure, INSTALL_MS, installIn, isThere, refuseMissing, refuseNoTarball, type Tell } from './install-work.js';

const IMAGE_MS = 600_000;
const MIB = 1024 * 1024;
/** Packages, what is unpacked of them, and the file system. */
const WORK_BYTES = 1536 * MIB;
/** What the root is to the guest: there may be swap space before it. */
const ROOT_VDEV = 'xvda2';

const PROGRAMS = [
  { argv: ['debootstrap', '--version'], debian: 'debootstrap' },
  { argv: ['mke2fs', '-V'], debian: 'e2fsprogs' },
] as const;

export class DebootstrapInstaller {
  readonly #exec: Exec;
  readonly #folder: string;
  readonly #root: string;

  /** @param folder for its work, absolute; made when first needed. @param root of the host's files */
  constructor(exec: Exec, folder: string, root: string) {
    this.#exec = exec;
    this.#folder = folder;
    this.#root = root;
  }

  async install(settings: InstallSettings, tell: Tell, signal: AbortSignal): Promise<InstalledImage> {
    // Before minutes of work.
    await refuseMissing(this.#exec, PROGRAMS, signal);
    await refuseNoTarball(this.#root, settings.source, 'debootstrap --make-tarball makes one');
    return installIn(this.#folder, WORK_BYTES, signal, async (work) => {
      const tree = join(work, 'root');
      await this.#debootstrap(tree, settings, tell, signal);
      tell('make it a guest');
      await this.#finish(tree, settings, signal);
      tell('make its file system');
      const path = join(work, 'root.img');
      await this.#makeImage(path, tree, settings.sizeBytes, signal);
      await rm(tree, { recursive: true, force: true });
      return { path, vdev: ROOT_VDEV };
    });
  }

  async #debootstrap(tree: string, { source, boot }: InstallSettings, tell: Tell, signal: AbortSignal): Promise<void> {
    const { tarball } = source;
    const mirror =
      source.mirror ?? (tarball === undefined ? aptMirror(await this.#aptSources(), source.dist) : undefined);
    const command = debootstrapCommand({ source, boot, arch: process.arch, folder: tree, mirror });
    let phase: string | undefined;
    const onOutput = (_stream: string, text: string): void => {
      const now = debootstrapPhase(text) ?? phase;
      if (now !== phase && now !== undefined) tell((phase = now));
    };
    const result = await this.#exec.run(command, { timeoutMs: INSTALL_MS, signal, onOutput });
    if (result.kind === 'ok') return;
    const log = await readFile(join(tree, 'debootstrap/debootstrap.log'), 'utf8').catch(() => '');
    throw failure('debootstrap', result, signal, log);
  }

  async #aptSources(): Promise<readonly string[]> {
    const folder = join(this.#root, 'etc/apt/sources.list.d');
    const names = (await readdir(folder).catch(() => [])).filter((name) => /\.(list|sources)$/.test(name)).sort();
    const files = [join(this.#root, 'etc/apt/sources.list'), ...names.map((name) => join(folder, name))];
    return Promise.all(files.map((file) => readFile(file, 'utf8').catch(() => '')));
  }

  async #finish(tree: string, { hostname, boot }: InstallSettings, signal: AbortSignal): Promise<void> {
    const names = await readdir(join(tree, 'boot')).catch(() => []);
    const kernels = names.flatMap((name) => kernelRelease(`/boot/${name}`) ?? []);
    await putFiles(tree, guestFiles({ hostname, rootDevice: `/dev/${ROOT_VDEV}`, boot, kernels }));
    const shadow = join(tree, 'etc/shadow');
    await writeFile(shadow, withRootLocked(await readFile(shadow, 'utf8')));
    if (boot.kind === 'direct') await this.#copyModules(tree, boot.kernel, signal);
  }

  /** Without them a guest boots with what is built in and what the initrd has. */
  async #copyModules(tree: string, kernel: string, signal: AbortSignal): Promise<void> {
    const release = kernelRelease(kernel);
    const from = release === undefined ? undefined : join(this.#root, 'lib/modules', release);
    if (from === undefined || !(await isThere(from))) return;
    const to = join(tree, 'usr/lib/modules');
    await mkdir(to, { recursive: true });
    const result = await this.#exec.run(['cp', '-a', from, to], { timeoutMs: IMAGE_MS, signal });
    if (result.kind !== 'ok') throw failure('cp', result, signal);
  }

  async #makeImage(path: string, tree: string, sizeBytes: number, signal: AbortSignal): Promise<void> {
    const file = await open(path, 'wx', 0o600);
    await file.truncate(sizeBytes).finally(() => file.close());
    const command = ['mke2fs', '-q', '-F', '-t', 'ext4', '-d', tree, path] as const;
    const result = await this.#exec.run(command, { timeoutMs: IMAGE_MS, signal });
    if (result.kind === 'ok') return;
    if (/no free (space|inodes)|Could not allocate/i.test(result.stderr)) {
      throw invalid(`The system does not fit into a disk of ${sizeBytes / MIB} MiB`, {
        hint: 'give it more: --disk MIB',
      });
    }
    throw failure('mke2fs', result, signal);
  }
}

async function putFiles(tree: string, { texts, links, emptied }: GuestFiles): Promise<void> {
  for (const path of emptied) await empty(join(tree, path));
  for (const [path, text] of texts) {
    const file = await fresh(tree, path);
    await writeFile(file, text, { mode: 0o644, flag: 'wx' });
  }
  for (const [path, target] of links) await symlink(target, await fresh(tree, path));
}

async function fresh(tree: string, path: string): Promise<string> {
  const file = join(tree, path);
  await mkdir(dirname(file), { recursive: true });
  await rm(file, { force: true });
  return file;
}

async function empty(path: string): Promise<void> {
  const names = await readdir(path).catch(() => undefined);
  if (names === undefined) return rm(path, { force: true });
  // apt(8) wants the folders that are in it.
  for (const name of names) if (name !== 'partial') await rm(join(path, name), { recursive: true });
}
