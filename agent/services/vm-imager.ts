import { wrongState } from '../../shared/errors.js';
import { bootFiles as namedFiles, chooseBoot, type BootFacts } from '../domain/image/boot-choice.js';
import { chooseCloud, diskFolder, kernelsOf, planImage, type MakeSettings } from '../domain/image/image-plan.js';
import { newSeed } from '../domain/seed/seed-files.js';
import type { VmPlan } from '../domain/vm-plan.js';
import type { XlCfg } from '../domain/xl-cfg/syntax.js';
import { parseXlCfg } from '../domain/xl-cfg/xl-cfg.js';
import type { BootFiles } from '../ports/boot-files.js';
import type { CfgFolder } from '../ports/cfg-folder.js';
import type { HostImages } from '../ports/host-images.js';
import type { SeedMaker } from '../ports/seed-maker.js';
import type { ReportProgress } from './order-runner.js';
import type { VmMaker } from './vm-maker.js';

export interface VmImagerParts {
  readonly cfgFolder: CfgFolder;
  readonly images: HostImages;
  readonly bootFiles: BootFiles;
  readonly seeds: SeedMaker;
}

/** What is held while a VM is made, and let go of afterwards. */
type Held = (() => void | Promise<void>)[];

/** Makes VMs of images. */
export class VmImager {
  readonly #parts: VmImagerParts;
  readonly #maker: VmMaker;

  constructor(parts: VmImagerParts, maker: VmMaker) {
    this.#parts = parts;
    this.#maker = maker;
  }

  /** What a death left of images goes. Before the first order; never throws. */
  recover(): Promise<void> {
    return this.#parts.images.clear();
  }

  /**
   * @param cfgPath of the new VM
   * @returns warnings, for people
   * @throws {AppError} as {@link VmMaker.make} and {@link HostImages.acquire}; `wrong_state` (nothing on the host to boot it
   *   with), `not_found` (a kernel that was named), `invalid` (a shape that it cannot have)
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
    const { images, seeds } = this.#parts;
    const { source, shape, name } = settings;
    // Before the image is fetched: what is missing is missing for all VMs.
    const cfgs = await this.#cfgs();
    const facts = await this.#bootFacts(settings, cfgs);
    progress(`get the image ${source.name}`);
    const tell = (percent: number): void => progress(`get the image ${source.name}`, percent);
    const image = await images.acquire(source, tell, signal);
    held.push(() => image.release());
    const boot = chooseBoot(image.content, shape.boot, facts);
    progress(`boots by ${boot.reason}`);
    const cloud = chooseCloud(source, shape, image.hasCloudInit);
    progress(`${cloud.isCloud ? 'a seed for' : 'nothing for'} cloud-init: ${cloud.reason}`);
    const { authorizedKeys = [], userData } = shape;
    const seed = cloud.isCloud ? await seeds.draft(newSeed({ name, authorizedKeys, userData }), signal) : undefined;
    if (seed !== undefined) held.push(() => seed.remove());
    const { path, content } = image;
    return planImage(settings, { path, content, boot, folder: diskFolder(cfgs), seedPath: seed?.path });
  }

  async #cfgs(): Promise<readonly XlCfg[]> {
    const files = await this.#parts.cfgFolder.list();
    return files.flatMap((file) => {
      if (file.kind !== 'text') return [];
      try {
        return [parseXlCfg(file.text)];
      } catch {
        // It tells nothing then; the VM of it has a problem, which others tell of.
        return [];
      }
    });
  }

  /** @throws {AppError} `wrong_state` for a file that was named and is not there */
  async #bootFacts({ shape }: MakeSettings, cfgs: readonly XlCfg[]): Promise<BootFacts> {
    const { bootFiles } = this.#parts;
    for (const file of namedFiles(shape.boot)) {
      if (await bootFiles.exists(file)) continue;
      throw wrongState(`The host has no ${file}`, { path: file, hint: 'ls /boot, on the host' });
    }
    const { running, hasPygrub, pvgrub } = await bootFiles.find();
    for (const kernel of kernelsOf(cfgs)) {
      const files = [kernel.kernel, ...(kernel.ramdisk === undefined ? [] : [kernel.ramdisk])];
      const areThere = await Promise.all(files.map((file) => bootFiles.exists(file)));
      if (areThere.every(Boolean)) return { kernel, hasPygrub, pvgrub };
    }
    return { kernel: running && { ...running, why: 'is what dom0 itself runs' }, hasPygrub, pvgrub };
  }
}
