import { bridgeError, chooseBridge } from '../../shared/domain/bridge.js';
import { invalid } from '../../shared/errors.js';
import { installerText, type InstallerSource } from '../../shared/domain/installer.js';
import type { ImageSource } from '../../shared/domain/make-source.js';
import { chooseBoot, type BootFacts } from '../domain/image/boot-choice.js';
import {
  chooseCloud,
  diskFolder,
  kernelsOf,
  planImage,
  type ImageFacts,
  type MakeSettings,
} from '../domain/image/image-plan.js';
import type { VifSettings } from '../domain/order.js';
import { chooseOwnStore, type OwnStore } from '../domain/own-store.js';
import { newSeed } from '../domain/seed/seed-files.js';
import type { VmPlan } from '../domain/vm-plan.js';
import type { XlCfg } from '../domain/xl-cfg/syntax.js';
import type { BootFiles } from '../ports/boot-files.js';
import type { Bridges } from '../ports/bridges.js';
import type { CfgFolder } from '../ports/cfg-folder.js';
import type { DiskStore } from '../ports/disk-store.js';
import type { HostImages, UnpackedImage } from '../ports/host-images.js';
import type { Installer } from '../ports/installer.js';
import type { SeedMaker } from '../ports/seed-maker.js';
import { refuseMissing } from './asked-boot.js';
import type { ReportProgress } from './order-runner.js';
import { readCfgs } from './read-cfgs.js';
import type { VmMaker } from './vm-maker.js';

export interface VmImagerParts {
  readonly cfgFolder: CfgFolder;
  readonly disks: Pick<DiskStore, 'survey'>;
  readonly images: HostImages;
  readonly installer: Installer;
  readonly bootFiles: BootFiles;
  readonly seeds: SeedMaker;
  readonly bridges: Bridges;
}

/** What is held while a VM is made, and let go of afterwards. */
type Held = (() => void | Promise<void>)[];

type RawImage = Pick<UnpackedImage, 'path' | 'content' | 'hasCloudInit'>;

interface Work {
  readonly facts: BootFacts;
  readonly held: Held;
  readonly progress: ReportProgress;
  readonly signal: AbortSignal;
}

/** What an installer makes. */
const INSTALLED = { kind: 'file system', type: 'ext' } as const;
const INSTALLED_MIB = 2048;
const MIB = 1024 * 1024;

/** Makes VMs of images, and of what installers of the host make. */
export class VmImager {
  readonly #parts: VmImagerParts;
  readonly #maker: VmMaker;

  constructor(parts: VmImagerParts, maker: VmMaker) {
    this.#parts = parts;
    this.#maker = maker;
  }

  /** What a death left of images goes. Before the first order; never throws. */
  async recover(): Promise<void> {
    await this.#parts.images.clear();
    await this.#parts.installer.clear();
  }

  /**
   * @param cfgPath of the new VM
   * @returns warnings, for people
   * @throws {AppError} as {@link VmMaker.make}, {@link HostImages.acquire} and {@link Installer.install}; `wrong_state`
   *   (nothing on the host to boot it with, no bridge to choose), `not_found` (a kernel or bridge that was named), `invalid` (a
   *   shape that it cannot have), `exhausted` (no thin pool)
   */
  async make(
    cfgPath: string,
    settings: MakeSettings,
    progress: ReportProgress,
    signal: AbortSignal,
  ): Promise<readonly string[]> {
    const held: Held = [];
    try {
      return await this.#maker.make(cfgPath, () => this.#plan(settings, held, progress, signal), progress, signal);
    } finally {
      for (const letGo of held.toReversed()) await letGo();
    }
  }

  async #plan(settings: MakeSettings, held: Held, progress: ReportProgress, signal: AbortSignal): Promise<VmPlan> {
    const { source } = settings;
    // Before the image is fetched: what is missing is missing for all VMs.
    const cfgs = await readCfgs(this.#parts.cfgFolder);
    const store = await this.#storeOf(settings);
    const facts = await this.#bootFacts(settings, cfgs);
    const work = { facts, held, progress, signal };
    const folder = diskFolder(cfgs);
    if (source.kind === 'installer') {
      const installed = await this.#install(source, settings, work);
      // The file system has been made as long as it was asked for.
      const shape = { ...settings.shape, diskMib: undefined };
      return planImage({ ...settings, shape }, { ...installed, folder, store, seedPath: undefined });
    }
    const { path, content, hasCloudInit } = await this.#acquire(source, work);
    const boot = chooseBoot(content, settings.shape.boot, facts);
    progress(`boots by ${boot.reason}`);
    const seedPath = await this.#draftSeed(source, settings, hasCloudInit, work);
    return planImage(settings, { path, content, boot, folder, store, seedPath });
  }

  async #acquire(source: ImageSource, { held, progress, signal }: Work): Promise<RawImage> {
    progress(`get the image ${source.name}`);
    const tell = (percent: number): void => progress(`get the image ${source.name}`, percent);
    const image = await this.#parts.images.acquire(source, tell, signal);
    held.push(() => image.release());
    return image;
  }

  async #install(
    source: InstallerSource,
    { name, shape, vif }: MakeSettings,
    { facts, held, progress, signal }: Work,
  ): Promise<Pick<ImageFacts, 'path' | 'content' | 'vdev' | 'boot'>> {
    if (shape.userData !== undefined) {
      throw invalid('User data is for cloud-init, which is not installed', { hint: 'leave --user-data out' });
    }
    const boot = chooseBoot(INSTALLED, shape.boot, facts);
    progress(`boots by ${boot.reason}`);
    const sizeBytes = (shape.diskMib ?? INSTALLED_MIB) * MIB;
    const wanted = {
      ...{ source, hostname: name, sizeBytes, hasSwap: shape.swapMib !== undefined, boot: boot.boot },
      vif: vif && (await this.#onBridge(name, vif)),
    };
    const tell = (what: string): void => progress(`${installerText(source)}: ${what}`);
    const image = await this.#parts.installer.install(wanted, tell, signal);
    held.push(() => image.remove());
    const { path, vdev } = image;
    return { path, vdev, content: INSTALLED, boot };
  }

  /** As its cfg will have it, which names none yet. */
  async #onBridge(name: string, vif: VifSettings): Promise<VifSettings> {
    const choice = chooseBridge({ named: undefined, wanted: vif.bridge }, await this.#parts.bridges.readBridges());
    if (choice.kind === 'refused') throw bridgeError(choice.refusal, name, vif.index);
    return { ...vif, bridge: 'bridge' in choice ? choice.bridge : undefined };
  }

  /** @returns its path; `undefined`: there is nothing for cloud-init */
  async #draftSeed(
    source: ImageSource,
    { name, shape }: MakeSettings,
    hasCloudInit: boolean | undefined,
    { held, progress, signal }: Work,
  ): Promise<string | undefined> {
    const cloud = chooseCloud(source, shape, hasCloudInit);
    progress(`${cloud.isCloud ? 'a seed for' : 'nothing for'} cloud-init: ${cloud.reason}`);
    if (!cloud.isCloud) return undefined;
    const { authorizedKeys = [], userData } = shape;
    const seed = await this.#parts.seeds.draft(newSeed({ name, authorizedKeys, userData }), signal);
    held.push(() => seed.remove());
    return seed.path;
  }

  /** Files share blocks with the image where they can, whether that is asked for or not. */
  async #storeOf({ shape: { storage } }: MakeSettings): Promise<OwnStore> {
    const wanted = storage === 'reflink' ? undefined : storage;
    const facts = await this.#parts.disks.survey({ disks: [], wanted });
    return chooseOwnStore(wanted, facts, 'the VM is no copy of another');
  }

  /** @throws {AppError} `wrong_state` for a file that was named and is not there */
  async #bootFacts({ shape }: MakeSettings, cfgs: readonly XlCfg[]): Promise<BootFacts> {
    const { bootFiles } = this.#parts;
    await refuseMissing(shape.boot, bootFiles);
    const { running, hasPygrub, pvgrub } = await bootFiles.find();
    for (const kernel of kernelsOf(cfgs)) {
      const files = [kernel.kernel, ...(kernel.ramdisk === undefined ? [] : [kernel.ramdisk])];
      const areThere = await Promise.all(files.map((file) => bootFiles.exists(file)));
      if (areThere.every(Boolean)) return { kernel, hasPygrub, pvgrub };
    }
    return { kernel: running && { ...running, why: 'is what dom0 itself runs' }, hasPygrub, pvgrub };
  }
}
