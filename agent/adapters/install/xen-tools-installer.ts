// xen-create-image(8) makes a file system on a loop device, installs into it, and writes what is leased into guest and cfg. That
// cfg only tells which disk of the guest it is: the cfg of the VM is written as for all others, without ip=, and MAC and bridge of
// the same lease come with its address.
//
// Invariants:
// - What it mounts, and the loop device of that, is in a namespace that ends with it.
// - Nothing is written to /etc/xen, and nothing there is taken away: both it and its xen-delete-image would.
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { kernelRelease } from '../../domain/install/guest-file.js';
import type { VifSettings } from '../../domain/order.js';
import {
  installedVdev,
  xenToolsCommand,
  xenToolsConfig,
  xenToolsFull,
  xenToolsPhase,
} from '../../domain/install/xen-tools.js';
import { invalid, notFound } from '../../../shared/errors.js';
import type { Exec } from '../../../shared/exec.js';
import type { InstalledImage, InstallSettings } from '../../ports/installer.js';
import { failure, INSTALL_MS, installIn, isThere, refuseMissing, refuseNoTarball, type Tell } from './install-work.js';

const PROGRAMS = [{ argv: ['xen-create-image', '--version'], debian: 'xen-tools' }] as const;

export class XenToolsInstaller {
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
    const { vif } = settings;
    if (vif === undefined) {
      throw invalid('The order tells of no address that xen-tools could write', { hint: 'upgrade the controller' });
    }
    await refuseMissing(this.#exec, PROGRAMS, signal);
    await this.#refuseDist(settings);
    await refuseNoTarball(this.#root, settings.source, 'tar -C FOLDER -cf FILE . makes one of an installed system');
    return installIn(this.#folder, settings.sizeBytes, signal, (work) =>
      this.#run(work, { ...settings, vif }, tell, signal),
    );
  }

  /** It would say so itself, behind a page of other things. */
  async #refuseDist({ source: { dist } }: InstallSettings): Promise<void> {
    if (await isThere(join(this.#root, 'usr/share/xen-tools', `${dist}.d`))) return;
    throw notFound(`The host's xen-tools know no distribution ${dist}`, {
      dist,
      hint: 'ls /usr/share/xen-tools, on the host',
    });
  }

  async #run(
    work: string,
    settings: InstallSettings & { readonly vif: VifSettings },
    tell: Tell,
    signal: AbortSignal,
  ): Promise<Omit<InstalledImage, 'remove'>> {
    const { hostname, sizeBytes, vif } = settings;
    const [mounts, none, config] = [join(work, 'tmp'), join(work, 'modules'), join(work, 'lease.conf')];
    for (const folder of [mounts, none]) await mkdir(folder);
    await writeFile(config, xenToolsConfig(vif));
    const modules = (await this.#modules(settings)) ?? none;
    const command = xenToolsCommand({ ...settings, folder: work, modules, config });
    let phase: string | undefined;
    const onOutput = (_stream: string, text: string): void => {
      const now = xenToolsPhase(text) ?? phase;
      if (now !== phase && now !== undefined) tell((phase = now));
    };
    const options = { timeoutMs: INSTALL_MS, signal, onOutput, env: { TMPDIR: mounts } };
    const result = await this.#exec.run(command, options);
    const logFile = join(this.#root, 'var/log/xen-tools', `${hostname}.log`);
    const log = await readFile(logFile, 'utf8').catch(() => '');
    await rm(logFile, { force: true });
    const full = result.kind === 'ok' || result.kind === 'failed' ? xenToolsFull(log, sizeBytes) : undefined;
    if (full) throw full;
    if (result.kind !== 'ok') throw failure('xen-create-image', result, signal, log);
    const path = join(work, 'domains', hostname, 'disk.img');
    return { path, vdev: installedVdev(await readFile(join(work, `${hostname}.cfg`), 'utf8'), path) };
  }

  /** Left to itself it takes those of the kernel that runs, whatever the guest boots. @returns `undefined`: there are none */
  async #modules({ boot }: InstallSettings): Promise<string | undefined> {
    const release = boot.kind === 'direct' ? kernelRelease(boot.kernel) : undefined;
    const folder = release === undefined ? undefined : join(this.#root, 'lib/modules', release);
    return folder !== undefined && (await isThere(folder)) ? folder : undefined;
  }
}
