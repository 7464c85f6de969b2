import type { Boot } from '../image/boot-choice.js';

export interface GuestFiles {
  /** By path in the guest, relative. */
  readonly texts: ReadonlyMap<string, string>;
  readonly links: ReadonlyMap<string, string>;
  /** That are not to be there; of a folder that which is in it. */
  readonly emptied: readonly string[];
}

export interface GuestFacts {
  readonly hostname: string;
  /** `/dev/xvda2`. */
  readonly rootDevice: string;
  readonly boot: Boot;
  /** Of the guest's own kernels: 6.1.0-18-amd64; none where it boots one of the host. */
  readonly kernels: readonly string[];
}

/** What an installed system lacks to be a guest; addresses and keys come as in every other VM. */
export function guestFiles({ hostname, rootDevice, boot, kernels }: GuestFacts): GuestFiles {
  const texts = new Map([
    ['etc/fstab', `${rootDevice} / ext4 errors=remount-ro 0 1\n`],
    ['etc/hostname', `${hostname}\n`],
    ['etc/hosts', `127.0.0.1\tlocalhost\n127.0.1.1\t${hostname}\n::1\tlocalhost ip6-localhost ip6-loopback\n`],
    ['etc/network/interfaces', 'auto lo\niface lo inet loopback\n'],
    // The host's own is what the installer left.
    ['etc/resolv.conf', ''],
  ]);
  const newest = [...kernels].sort((a, b) => b.localeCompare(a, 'en', { numeric: true }));
  if (boot.kind !== 'direct') texts.set('boot/grub/grub.cfg', grubCfg(newest, rootDevice));
  return {
    texts,
    links: new Map([
      ['etc/systemd/system/getty.target.wants/serial-getty@hvc0.service', '/lib/systemd/system/serial-getty@.service'],
    ]),
    emptied: ['var/cache/apt/archives', 'var/lib/apt/lists', 'var/log/bootstrap.log'],
  };
}

/** Read by pygrub and by pvgrub; there is no GRUB in the guest that would write it. */
function grubCfg(kernels: readonly string[], rootDevice: string): string {
  const entries = kernels.map(
    (kernel) => `menuentry 'Linux ${kernel}' {
  linux /boot/vmlinuz-${kernel} root=${rootDevice} ro console=hvc0
  initrd /boot/initrd.img-${kernel}
}
`,
  );
  return `set default=0\nset timeout=0\n${entries.join('')}`;
}

/** Of which release the modules of a kernel of the host are: `/boot/vmlinuz-6.1.0-18-amd64`; `undefined`: it is not told. */
export function kernelRelease(kernel: string): string | undefined {
  return /\/vmlinu[xz]-([\w.+~-]+)$/.exec(kernel)?.[1];
}

/** Root's line as it is where nobody may log in with a password, if anybody may without one. */
export function withRootLocked(shadow: string): string {
  return shadow.replace(/^root::/m, 'root:*:');
}
