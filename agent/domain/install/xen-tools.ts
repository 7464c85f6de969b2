import type { InstallerSource } from '../../../shared/domain/installer.js';
import { wrongState } from '../../../shared/errors.js';
import type { Boot } from '../image/boot-choice.js';
import { listDisks } from '../xl-cfg/disk.js';
import { parseXlCfg } from '../xl-cfg/xl-cfg.js';
import { OWN_NAMESPACES } from './namespace.js';

export interface XenToolsSettings {
  readonly source: InstallerSource;
  readonly hostname: string;
  readonly sizeBytes: number;
  readonly hasSwap: boolean;
  readonly boot: Boot;
  /** Absolute: of the image and the cfg. */
  readonly folder: string;
  /** A folder that is there. */
  readonly modules: string;
}

const MIB = 1024 * 1024;

/**
 * xen-create-image(8), with what it mounts kept to itself. What its configuration says stands, but for what the VM is to be:
 * roles, hooks, a mirror.
 */
export function xenToolsCommand(settings: XenToolsSettings): readonly [string, ...string[]] {
  const { source, hostname, sizeBytes, hasSwap, boot, folder, modules } = settings;
  return [
    ...OWN_NAMESPACES,
    'xen-create-image',
    `--hostname=${hostname}`,
    `--dist=${source.dist}`,
    `--dir=${folder}`,
    `--output=${folder}`,
    '--fs=ext4',
    '--image=sparse',
    '--disk_device=xvda',
    `--size=${Math.ceil(sizeBytes / MIB)}Mb`,
    // Swap space is made with the VM; the guest has its line for it, and the root behind it.
    hasSwap ? '--swap=1Mb' : '--noswap',
    ...bootOptions(boot),
    `--modules=${modules}`,
    // The lease brings the address, as to every other VM.
    '--dhcp',
    // It would enter the guest in the host's /etc/hosts.
    '--nohosts',
    '--genpass=0',
    '--nopasswd',
    '--noboot',
    '--noforce',
    // Taking away what failed, it would take the cfg of that name from /etc/xen.
    '--keep',
    ...methodOptions(source),
  ];
}

function bootOptions(boot: Boot): readonly string[] {
  // `--nopygrub` would leave the kernel out too.
  if (boot.kind !== 'direct') return ['--pygrub'];
  return [`--kernel=${boot.kernel}`, ...(boot.ramdisk === undefined ? [] : [`--initrd=${boot.ramdisk}`])];
}

function methodOptions({ tarball, mirror }: InstallerSource): readonly string[] {
  if (tarball !== undefined) return ['--install-method=tar', `--install-source=${tarball}`];
  return ['--install-method=debootstrap', '--cache=no', ...(mirror === undefined ? [] : [`--mirror=${mirror}`])];
}

/** What it is at, of what it says; `undefined`: as before. */
export function xenToolsPhase(text: string): string | undefined {
  const last = [...text.matchAll(/^(Creating ext4|Installation method|Running hooks|Role:)/gm)].at(-1)?.[1];
  return last === undefined ? undefined : PHASES[last];
}

const PHASES: Readonly<Record<string, string>> = {
  'Creating ext4': 'make its file system',
  'Installation method': 'install the system',
  'Running hooks': 'run hooks',
  'Role:': 'run roles',
};

/**
 * Which disk of the guest that image is, in the cfg that xen-tools wrote.
 *
 * @throws {AppError} `wrong_state` if there is more than swap space and that one
 */
export function installedVdev(cfgText: string, image: string): string {
  const disks = listDisks(parseXlCfg(cfgText)).filter(({ target }) => !target.endsWith('/swap.img'));
  const [disk] = disks;
  if (disk !== undefined && disks.length === 1 && disk.target === image) return disk.vdev;
  throw wrongState('xen-tools made a guest of several file systems, of which no VM is made here', {
    hint: 'take partitions out of /etc/xen-tools/xen-tools.conf, on the host',
  });
}
