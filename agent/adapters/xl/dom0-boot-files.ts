import { access, readdir } from 'node:fs/promises';
import { release } from 'node:os';
import { join } from 'node:path';
import type { BootFiles } from '../../ports/boot-files.js';

/** Of grub-xen-host. */
const PVGRUB = 'usr/lib/grub-xen/grub-x86_64-xen.bin';
/** Where xl looks for a bootloader that is named without a path; Debian has one folder a version. */
const XEN_FOLDERS = ['usr/lib', 'usr/libexec', 'usr/local/lib', 'usr/local/libexec'];

/** The files of this machine. */
export class Dom0BootFiles implements BootFiles {
  readonly #root: string;
  readonly #release: string;

  /** @param root of the file system; @param kernel that runs */
  constructor(root = '/', kernel = release()) {
    this.#root = root;
    this.#release = kernel;
  }

  exists(path: string): Promise<boolean> {
    return isThere(join(this.#root, path));
  }

  async find(): ReturnType<BootFiles['find']> {
    const [running, hasPygrub, hasPvgrub] = await Promise.all([
      this.#running(),
      this.#hasPygrub(),
      this.exists(PVGRUB),
    ]);
    return { running, hasPygrub, pvgrub: hasPvgrub ? `/${PVGRUB}` : undefined };
  }

  async #running(): Promise<{ readonly kernel: string; readonly ramdisk: string | undefined } | undefined> {
    const kernel = `/boot/vmlinuz-${this.#release}`;
    if (!(await this.exists(kernel))) return undefined;
    const ramdisk = `/boot/initrd.img-${this.#release}`;
    return { kernel, ramdisk: (await this.exists(ramdisk)) ? ramdisk : undefined };
  }

  async #hasPygrub(): Promise<boolean> {
    for (const folder of XEN_FOLDERS) {
      const names = await readdir(join(this.#root, folder)).catch(() => []);
      for (const name of names) {
        if (/^xen(-\d|$)/.test(name) && (await this.exists(join(folder, name, 'bin/pygrub')))) return true;
      }
    }
    return false;
  }
}

function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
