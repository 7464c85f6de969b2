import { AppError, invalid } from '../../../shared/errors.js';
import type { Bootloader, BootMethod } from '../../../shared/domain/vm-shape.js';
import type { ImageContent } from '../../../shared/domain/image-format.js';

/** A kernel of dom0 that a domU can be started with. */
export interface HostKernel {
  readonly kernel: string;
  readonly ramdisk: string | undefined;
  /** "is what domU boots with here": follows the path. */
  readonly why: string;
}

/** What a host has to start domUs with. */
export interface BootFacts {
  /** `undefined`: none that is known. */
  readonly kernel: HostKernel | undefined;
  /** Whether pygrub is installed. */
  readonly hasPygrub: boolean;
  /** Of GRUB built as a PV kernel; `undefined`: not installed. */
  readonly pvgrub: string | undefined;
}

type BootloaderFacts = Pick<BootFacts, 'hasPygrub' | 'pvgrub'>;

/** What the cfg is to say. */
export type Boot =
  | {
      readonly kind: 'direct';
      readonly kernel: string;
      readonly ramdisk: string | undefined;
      readonly cmdline: string | undefined;
    }
  | { readonly kind: 'pygrub' }
  | { readonly kind: 'pvgrub'; readonly kernel: string };

export interface BootChoice {
  readonly boot: Boot;
  /** For people. */
  readonly reason: string;
}

/** Whether a cfg's kernel is a bootloader that is built as one. */
export function isGrub(kernel: string): boolean {
  return /grub/i.test(kernel);
}

const PVGRUB_HINT = 'apt-get install grub-xen-host, on the host';
const PYGRUB_HINT = 'install xen-utils on the host, or take --bootloader pvgrub';

/**
 * How a VM made of an image boots: as it was asked for; else a file system with the host's own kernel, since it has none that
 * can be relied on, and a whole disk by its own GRUB configuration.
 *
 * @param asked its files are known to exist
 * @throws {AppError} `wrong_state` if the host has nothing to do it with
 */
export function chooseBoot(content: ImageContent, asked: BootMethod | undefined, facts: BootFacts): BootChoice {
  if (asked !== undefined) return chooseAsked(asked, facts);
  return content.kind === 'disk' ? diskDefault(facts) : fileSystemDefault(facts);
}

/**
 * @param asked its files are known to exist
 * @throws {AppError} `wrong_state` if the host has not that bootloader
 */
export function chooseAsked(asked: BootMethod, facts: BootloaderFacts): BootChoice {
  if (asked.kind === 'bootloader') return byBootloader(asked.bootloader, facts);
  const { kernel, ramdisk, cmdline } = asked;
  return { boot: { kind: 'direct', kernel, ramdisk, cmdline }, reason: `kernel ${kernel}, as asked for` };
}

function byBootloader(bootloader: Bootloader, { pvgrub, hasPygrub }: BootloaderFacts): BootChoice {
  const reason = `${bootloader}, as asked for`;
  if (bootloader === 'pygrub') {
    if (hasPygrub) return { boot: { kind: 'pygrub' }, reason };
    throw missing('The host has no pygrub', PYGRUB_HINT);
  }
  if (pvgrub !== undefined) return { boot: { kind: 'pvgrub', kernel: pvgrub }, reason };
  throw missing('The host has no pvgrub', PVGRUB_HINT);
}

function diskDefault({ pvgrub, hasPygrub }: BootFacts): BootChoice {
  const why = 'the image is a whole disk';
  if (pvgrub !== undefined) return { boot: { kind: 'pvgrub', kernel: pvgrub }, reason: `pvgrub: ${why}` };
  if (hasPygrub) return { boot: { kind: 'pygrub' }, reason: `pygrub: ${why}, and grub-xen-host is not installed` };
  throw missing('The image is a whole disk, and the host has neither pvgrub nor pygrub', PVGRUB_HINT);
}

function fileSystemDefault({ kernel }: BootFacts): BootChoice {
  if (kernel === undefined) {
    throw missing(
      'The image is a file system, and the host has no kernel for it',
      '--kernel and --ramdisk name one on the host; --bootloader pvgrub takes the one in the image',
    );
  }
  const { why, ...files } = kernel;
  return { boot: { kind: 'direct', ...files, cmdline: undefined }, reason: `kernel ${files.kernel}: it ${why}` };
}

function missing(message: string, hint: string): AppError {
  return new AppError('wrong_state', message, { hint });
}

/** The files of dom0 that a boot method names. @throws {AppError} `invalid` for one that is no absolute path */
export function bootFiles(boot: BootMethod | undefined): readonly string[] {
  if (boot?.kind !== 'direct') return [];
  const files = [boot.kernel, ...(boot.ramdisk === undefined ? [] : [boot.ramdisk])];
  for (const file of files) {
    if (!/^\/[\x21-\x7e]+$/.test(file)) {
      throw invalid(`"${file}" is no absolute path of the host`, { hint: 'such as /boot/vmlinuz-6.1.0-18-amd64' });
    }
  }
  return files;
}
