import { wrongState } from '../../shared/errors.js';
import { disksToCopy, planCopy, type CopySettings } from '../domain/copy-plan.js';
import type { DiskImage } from '../domain/new-disk.js';
import type { ObservedVm } from '../domain/vm.js';
import { parseXlCfg } from '../domain/xl-cfg/xl-cfg.js';
import type { VmPlan } from '../domain/vm-plan.js';
import type { BootFiles } from '../ports/boot-files.js';
import type { CfgFolder } from '../ports/cfg-folder.js';
import type { DiskStore } from '../ports/disk-store.js';
import type { SeedReader } from '../ports/seed-maker.js';
import { bootAsAsked } from './asked-boot.js';
import type { ReportProgress } from './order-runner.js';
import { refuseSeedless } from './source-seed.js';
import type { VmMaker } from './vm-maker.js';

export interface VmCopierParts {
  readonly cfgFolder: CfgFolder;
  readonly disks: DiskStore;
  readonly bootFiles: BootFiles;
  readonly seeds: SeedReader;
  readonly maker: VmMaker;
}

/** Makes VMs that are copies of others on this host. */
export class VmCopier {
  readonly #parts: VmCopierParts;

  constructor(parts: VmCopierParts) {
    this.#parts = parts;
  }

  /**
   * @param source as it was observed just now
   * @param cfgPath of the new VM
   * @returns warnings, for people
   * @throws {AppError} as {@link VmMaker.make} and {@link bootAsAsked}; `wrong_state` (source not stopped, no cfg, no seed for
   *   the user data), `invalid` (a disk that cannot be copied, or not be kept so)
   */
  async copy(
    source: ObservedVm,
    cfgPath: string,
    settings: CopySettings,
    progress: ReportProgress,
    signal: AbortSignal,
  ): Promise<readonly string[]> {
    const from = source.cfgPath;
    if (from === undefined) throw wrongState(`${source.name} has no cfg file: it cannot be copied`);
    const planOf = (): Promise<VmPlan> => this.#plan(source, from, settings, progress, signal);
    return this.#parts.maker.make(cfgPath, planOf, progress, signal);
  }

  async #plan(
    source: ObservedVm,
    cfgPath: string,
    settings: CopySettings,
    progress: ReportProgress,
    signal: AbortSignal,
  ): Promise<VmPlan> {
    const { cfgFolder, bootFiles, seeds } = this.#parts;
    const { boot, userData, storage } = settings.shape;
    const cfg = parseXlCfg(await cfgFolder.read(cfgPath));
    const disks = disksToCopy(source, cfg).map(({ target, format }): DiskImage => ({
      path: target,
      format: format === 'qcow2' ? 'qcow2' : 'raw',
    }));
    if (userData !== undefined) await refuseSeedless(source.name, cfg, disks, seeds, signal);
    const booted = await bootAsAsked(cfg, boot, bootFiles, progress);
    return planCopy(source, booted, settings, await this.#parts.disks.survey({ disks, wanted: storage }));
  }
}
