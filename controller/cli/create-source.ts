import { checkInstaller, DEFAULT_DIST, type InstallerSource } from '../../shared/domain/installer.js';
import type { BootMethod } from '../../shared/domain/vm-shape.js';
import { invalid } from '../../shared/errors.js';
import type { CreateOptions } from './vm-create-action.js';

/** @throws {AppError} `invalid` for options that make no sense together */
export function refuseSource(options: CreateOptions): void {
  const { like, image, installer, sha256, cloudInit, userData } = options;
  const sources = Object.entries({ '--like': like, '--image': image, '--installer': installer });
  const [one, two] = sources.flatMap(([flag, value]) => (value === undefined ? [] : [flag]));
  if (one === undefined) {
    throw invalid('there is nothing to make VMs of', {
      hint: 'give --like VM, --image FILE or URL, or --installer debootstrap or xen-tools',
    });
  }
  if (two !== undefined) {
    throw invalid(`${one} and ${two} are two sources: VMs are made of one`, { hint: 'leave one of them out' });
  }
  if (installer !== undefined && userData !== undefined) {
    throw invalid('--user-data is for VMs of an --image, and for copies of those: what is installed has no cloud-init');
  }
  const ofImages = { '--sha256': sha256, '--cloud-init': cloudInit };
  const [alone] = Object.entries(ofImages).find(([, value]) => value !== undefined) ?? [];
  if (image === undefined && alone !== undefined) throw invalid(`${alone} is for VMs of an --image`);
  if (cloudInit === false && userData !== undefined) {
    throw invalid('--user-data is for cloud-init, and --no-cloud-init wants none of it');
  }
}

/** @throws {AppError} `invalid` */
export function installerOf({ installer, dist, mirror, tarball }: CreateOptions): InstallerSource | undefined {
  const ofInstallers = { '--dist': dist, '--mirror': mirror, '--tarball': tarball };
  const [alone] = Object.entries(ofInstallers).find(([, value]) => value !== undefined) ?? [];
  if (installer === undefined) {
    if (alone !== undefined) throw invalid(`${alone} goes with --installer`);
    return undefined;
  }
  return checkInstaller({ kind: 'installer', installer, dist: dist ?? DEFAULT_DIST, mirror, tarball });
}

/** @throws {AppError} `invalid` */
export function bootOf({ kernel, ramdisk, cmdline, bootloader }: CreateOptions): BootMethod | undefined {
  if (kernel !== undefined && bootloader !== undefined) {
    throw invalid('--kernel and --bootloader are two ways to boot: a VM has one');
  }
  if (kernel === undefined && (ramdisk !== undefined || cmdline !== undefined)) {
    throw invalid(`${ramdisk === undefined ? '--cmdline' : '--ramdisk'} goes with --kernel`);
  }
  for (const path of [kernel, ramdisk]) {
    if (path === undefined || path.startsWith('/')) continue;
    throw invalid(`${path} is no absolute path of the dom0`, { hint: 'such as /boot/vmlinuz-6.1.0-18-amd64' });
  }
  if (bootloader !== undefined) return { kind: 'bootloader', bootloader };
  return kernel === undefined ? undefined : { kind: 'direct', kernel, ramdisk, cmdline };
}

export function isUrl(source: string): boolean {
  return /^[a-z][a-z0-9+.-]*:\/\//i.test(source);
}
