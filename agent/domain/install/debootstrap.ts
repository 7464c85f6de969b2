import type { InstallerSource } from '../../../shared/domain/installer.js';
import { wrongState } from '../../../shared/errors.js';
import type { Boot } from '../image/boot-choice.js';
import { OWN_NAMESPACES } from './namespace.js';

/** What a guest needs to be booted, addressed and reached; all else is for who logs in. */
const PACKAGES = [
  'systemd-sysv',
  'udev',
  'kmod',
  'e2fsprogs',
  'ifupdown',
  'iproute2',
  'iputils-ping',
  'netbase',
  'openssh-server',
];

/** A domU needs no firmware, and runs on the machine that installs it. */
const KERNELS: Readonly<Record<string, string>> = { x64: 'linux-image-amd64', arm64: 'linux-image-arm64' };

export interface DebootstrapSettings {
  readonly source: InstallerSource;
  readonly boot: Boot;
  /** As Node names it. */
  readonly arch: string;
  /** Absolute; not there yet. */
  readonly folder: string;
  /** A URL; not asked where there is a tarball. */
  readonly mirror: string | undefined;
}

/**
 * debootstrap(8) with what it mounts, and what packages start, kept to itself: both go when it ends, however that comes.
 *
 * @throws {AppError} `wrong_state` for a guest with a kernel of its own, where none is known
 */
export function debootstrapCommand(settings: DebootstrapSettings): readonly [string, ...string[]] {
  const { source, folder, mirror } = settings;
  return [
    ...OWN_NAMESPACES,
    'debootstrap',
    '--variant=minbase',
    // Without the keys of the distribution it would install what it cannot check.
    '--force-check-gpg',
    `--include=${[...PACKAGES, ...kernelPackages(settings)].join(',')}`,
    ...(source.tarball === undefined ? [] : [`--unpack-tarball=${source.tarball}`]),
    source.dist,
    folder,
    ...(mirror === undefined ? [] : [mirror]),
  ];
}

/** What debootstrap is at, of what it says; `undefined`: as before. */
export function debootstrapPhase(text: string): string | undefined {
  const last = [...text.matchAll(/^I: (Retrieving|Validating|Extracting|Unpacking|Configuring) /gm)].at(-1)?.[1];
  return last === undefined ? undefined : PHASES[last];
}

const PHASES: Readonly<Record<string, string>> = {
  Retrieving: 'download packages',
  Validating: 'download packages',
  Extracting: 'extract the base system',
  Unpacking: 'unpack packages',
  Configuring: 'configure packages',
};

function kernelPackages({ boot, arch }: DebootstrapSettings): readonly string[] {
  if (boot.kind === 'direct') return [];
  const name = KERNELS[arch];
  if (name !== undefined) return [name];
  throw wrongState(`No kernel package is known for ${arch}`, { hint: 'boot one of the host: --kernel FILE' });
}
