import { prefixToNetmask } from '../../../shared/domain/cidr.js';
import type { InstallerSource } from '../../../shared/domain/installer.js';
import { formatIpv4 } from '../../../shared/domain/ipv4.js';
import { formatMac } from '../../../shared/domain/mac.js';
import { invalid, wrongState, type AppError } from '../../../shared/errors.js';
import type { Boot } from '../image/boot-choice.js';
import type { VifSettings } from '../order.js';
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
  /** What its NIC is leased. */
  readonly vif: VifSettings;
  /** A file with {@link xenToolsConfig}. */
  readonly config: string;
}

const MIB = 1024 * 1024;

/**
 * xen-create-image(8), with what it mounts kept to itself. What its configuration says stands, but for what the VM is to be:
 * roles, hooks, a mirror.
 */
export function xenToolsCommand(settings: XenToolsSettings): readonly [string, ...string[]] {
  const { source, hostname, sizeBytes, hasSwap, boot, folder, modules, vif, config } = settings;
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
    `--config=${config}`,
    ...networkOptions(vif),
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

function networkOptions({ address, mac, settings, bridge }: VifSettings): readonly string[] {
  const { prefixLength, broadcast, gateway } = settings;
  return [
    `--ip=${formatIpv4(address)}`,
    `--mac=${formatMac(mac)}`,
    `--netmask=${formatIpv4(prefixToNetmask(prefixLength))}`,
    `--broadcast=${formatIpv4(broadcast)}`,
    `--gateway=${formatIpv4(gateway)}`,
    ...(bridge === undefined ? [] : [`--bridge=${bridge}`]),
  ];
}

/**
 * What its command line cannot say. There `--nodhcp` is a "0" that its hooks take for DHCP, so that a host whose xen-tools.conf
 * has `dhcp` would get no address written; and `--nameserver` takes one, where a file may name several.
 */
export function xenToolsConfig({ settings: { dns } }: VifSettings): string {
  // Of a line without a character behind the sign it would read nothing.
  const lines = ['dhcp = ', ...(dns.length === 0 ? [] : [`nameserver = ${dns.map(formatIpv4).join(' ')}`])];
  return lines.map((line) => `${line}\n`).join('');
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
 * It goes on when the file system is full: the hooks that write into it end well all the same.
 *
 * @param log that it wrote
 * @returns why there is no system; `undefined`: it had room
 */
export function xenToolsFull(log: string, sizeBytes: number): AppError | undefined {
  const [line] = /^.*(No space left on device|Wrote only \d+ of \d+ bytes).*$/m.exec(log) ?? [];
  if (line === undefined) return undefined;
  return invalid(`The system does not fit into a disk of ${Math.ceil(sizeBytes / MIB)} MiB`, {
    output: line.trim().slice(0, 1000),
    hint: 'give it more: --disk MIB; or free room on the host, whose own disk may be what is full',
  });
}

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
