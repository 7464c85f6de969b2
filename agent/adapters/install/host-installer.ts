import { rm } from 'node:fs/promises';
import type { Logger } from 'pino';
import type { Exec } from '../../../shared/exec.js';
import type { InstalledImage, Installer, InstallSettings } from '../../ports/installer.js';

export interface HostInstallerParts {
  readonly exec: Exec;
  readonly log: Logger;
  /** Absolute, of its own; made when first needed. */
  readonly folder: string;
  /** Of the file system; left out: this machine's. */
  readonly root?: string;
}

/** The installers of this machine. */
export class HostInstaller implements Installer {
  readonly #parts: HostInstallerParts;

  constructor(parts: HostInstallerParts) {
    this.#parts = parts;
  }

  async install(settings: InstallSettings, tell: (what: string) => void, signal: AbortSignal): Promise<InstalledImage> {
    const { exec, folder, root = '/' } = this.#parts;
    // Most hosts never install.
    switch (settings.source.installer) {
      case 'debootstrap': {
        const { DebootstrapInstaller } = await import('./debootstrap-installer.js');
        return new DebootstrapInstaller(exec, folder, root).install(settings, tell, signal);
      }
      case 'xen-tools': {
        const { XenToolsInstaller } = await import('./xen-tools-installer.js');
        return new XenToolsInstaller(exec, folder, root).install(settings, tell, signal);
      }
    }
  }

  async clear(): Promise<void> {
    const { folder, log } = this.#parts;
    await rm(folder, { recursive: true, force: true }).catch((error: unknown) => {
      log.warn({ err: error, folder }, 'what was left of an installation could not be removed');
    });
  }
}
