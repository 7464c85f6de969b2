import { invalid } from '../../../shared/errors.js';
import type { ImageContent } from '../../../shared/domain/image-format.js';
import type { ImageSource, MakeSource } from '../../../shared/domain/make-source.js';
import type { VmShape } from '../../../shared/domain/vm-shape.js';
import type { NewDisk } from '../new-disk.js';
import type { VifSettings } from '../order.js';
import { keepIn, type OwnStore } from '../own-store.js';
import { SEED_VDEV } from '../seed/seed-files.js';
import type { VmPlan } from '../vm-plan.js';
import { listDisks } from '../xl-cfg/disk.js';
import type { XlCfg } from '../xl-cfg/syntax.js';
import { getString } from '../xl-cfg/xl-cfg.js';
import { isGrub, type BootChoice, type HostKernel } from './boot-choice.js';
import { makeCfg, rootDevice, rootVdev, type CfgDisk } from './image-cfg.js';

export interface MakeSettings {
  readonly name: string;
  readonly uuid: string;
  readonly shape: VmShape;
  readonly source: MakeSource;
  /** What its first vif is leased, for an installer that writes it. */
  readonly vif?: VifSettings | undefined;
}

export interface ImageFacts {
  /** Of the raw image. */
  readonly path: string;
  readonly content: ImageContent;
  /** What the guest expects it to be; `undefined`: as its content tells. */
  readonly vdev?: string | undefined;
  readonly boot: BootChoice;
  /** Of its disks that are files: absolute. */
  readonly folder: string;
  readonly store: OwnStore;
  /** `undefined`: no cloud-init. */
  readonly seedPath: string | undefined;
}

const DEFAULT_FOLDER = '/opt/xen/domains';
const MEMORY_MIB = 512;
const MIB = 1024 * 1024;

interface Part {
  readonly vdev: string;
  readonly file: string;
  readonly disk: Pick<NewDisk, 'source' | 'sizeBytes'>;
}

/**
 * A VM of an image: disks in a folder of its own, or where else is asked for, a cfg of its own, no MAC, for the lease to bring.
 *
 * @throws {AppError} `invalid` for a shape that such a VM cannot have
 */
export function planImage({ name, uuid, shape }: MakeSettings, facts: ImageFacts): VmPlan {
  refuseShape(facts);
  const { content, boot, folder, store } = facts;
  const parts = partsOf(shape, facts);
  const disks = parts.map(({ vdev, file }): CfgDisk => ({ vdev, target: `${folder}/${name}/${file}` }));
  const { memoryMib = MEMORY_MIB, vcpus = 1, extraVifs = [] } = shape;
  return keepIn(store, {
    name,
    cfg: makeCfg({
      ...{ name, uuid, memoryMib, vcpus, disks },
      boot: boot.boot,
      rootDevice: facts.vdev === undefined ? rootDevice(content) : `/dev/${facts.vdev}`,
      bridges: [undefined, ...extraVifs],
    }),
    disks: parts.map(({ disk, file }) => ({
      ...disk,
      place: { path: `${folder}/${name}/${file}`, storage: 'copy' },
    })),
    // cloud-init makes host keys and machine id by itself.
    isRenewed: facts.seedPath === undefined,
    authorizedKeys: shape.authorizedKeys,
  });
}

/** Whether a guest gets a seed, and why; for people. */
export function chooseCloud(
  { isCloud }: ImageSource,
  { userData }: VmShape,
  hasCloudInit: boolean | undefined,
): { readonly isCloud: boolean; readonly reason: string } {
  if (isCloud === true) return { isCloud, reason: 'asked for' };
  if (isCloud === false) return { isCloud, reason: 'not wanted' };
  if (userData !== undefined) return { isCloud: true, reason: 'there is user data for it' };
  if (hasCloudInit === true) return { isCloud: true, reason: 'it is in the image' };
  return {
    isCloud: false,
    reason: hasCloudInit === false ? 'it is not in the image' : 'the image cannot be looked into',
  };
}

/** Where disks are kept on this host: beside those of the VMs that it has. `/opt/xen/domU/disk.img` tells `/opt/xen`. */
export function diskFolder(cfgs: readonly XlCfg[]): string {
  for (const cfg of cfgs) {
    for (const { target, access } of disksOf(cfg)) {
      const parts = target.split('/');
      if (access !== 'w' || parts[0] !== '' || parts[1] === 'dev' || parts.length < 4) continue;
      return parts.slice(0, -2).join('/');
    }
  }
  return DEFAULT_FOLDER;
}

/** The kernels that VMs of this host boot with, those of most VMs first. */
export function kernelsOf(cfgs: readonly XlCfg[]): readonly HostKernel[] {
  const counts = new Map<string, { readonly kernel: HostKernel; count: number }>();
  for (const cfg of cfgs) {
    const [kernel, ramdisk, name] = ['kernel', 'ramdisk', 'name'].map((key) => getString(cfg, key));
    // A bootloader that is built as a kernel is none for a file system.
    if (kernel?.startsWith('/') !== true || isGrub(kernel)) continue;
    const key = `${kernel}\n${ramdisk ?? ''}`;
    const known = counts.get(key) ?? {
      kernel: { kernel, ramdisk, why: `is what ${name ?? 'another VM'} boots with` },
      count: 0,
    };
    counts.set(key, { ...known, count: known.count + 1 });
  }
  return [...counts.values()].sort((a, b) => b.count - a.count).map(({ kernel }) => kernel);
}

function partsOf({ diskMib, swapMib, extraDisksMib = [] }: VmShape, facts: ImageFacts): Part[] {
  const { path, content, vdev = rootVdev(content), seedPath } = facts;
  const sizeBytes = diskMib === undefined ? undefined : diskMib * MIB;
  return [
    { vdev, file: 'disk.img', disk: { source: { kind: 'image', path, format: 'raw' }, sizeBytes } },
    ...(swapMib === undefined
      ? []
      : [
          {
            vdev: content.kind === 'disk' ? 'xvdb' : 'xvda1',
            file: 'swap.img',
            disk: { source: { kind: 'swap', bytes: swapMib * MIB } },
          } as const,
        ]),
    ...extraDisksMib.map((sizeMib, n): Part => {
      const letter = String.fromCharCode('c'.charCodeAt(0) + n);
      return { vdev: `xvd${letter}`, file: `${letter}.img`, disk: { source: { kind: 'blank', bytes: sizeMib * MIB } } };
    }),
    ...(seedPath === undefined
      ? []
      : [
          {
            vdev: SEED_VDEV,
            file: 'seed.img',
            disk: { source: { kind: 'image', path: seedPath, format: 'raw' } },
          } as const,
        ]),
  ];
}

function refuseShape({ content, seedPath }: ImageFacts): void {
  if (seedPath !== undefined || content.kind === 'disk' || content.type === 'ext') return;
  throw invalid(`The image is one ${content.type} file system, which cannot be given an address`, {
    hint: '--cloud-init, if there is cloud-init in it; or an image with an ext4 file system',
  });
}

function disksOf(cfg: XlCfg): ReturnType<typeof listDisks> {
  try {
    return listDisks(cfg);
  } catch {
    return [];
  }
}
