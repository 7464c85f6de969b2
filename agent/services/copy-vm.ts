import { wrongState } from '../../shared/errors.js';
import { disksToCopy, planCopy, type CopySettings } from '../domain/copy-plan.js';
import type { ObservedVm } from '../domain/vm.js';
import { parseXlCfg } from '../domain/xl-cfg/xl-cfg.js';
import type { VmPlan } from '../domain/vm-plan.js';
import type { CfgFolder } from '../ports/cfg-folder.js';
import type { DiskStore } from '../ports/disk-store.js';
import type { ReportProgress } from './order-runner.js';
import type { VmMaker } from './vm-maker.js';

/** Makes VMs that are copies of others on this host. */
export class VmCopier {
  readonly #cfgFolder: CfgFolder;
  readonly #disks: DiskStore;
  readonly #maker: VmMaker;

  constructor(cfgFolder: CfgFolder, disks: DiskStore, maker: VmMaker) {
    this.#cfgFolder = cfgFolder;
    this.#disks = disks;
    this.#maker = maker;
  }

  /**
   * @param source as it was observed just now
   * @param cfgPath of the new VM
   * @returns warnings, for people
   * @throws {AppError} as {@link VmMaker.make}; `wrong_state` (source not stopped, no cfg), `invalid` (a disk that cannot be
   *   copied, or not be kept so)
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
    return this.#maker.make(cfgPath, () => this.#plan(source, from, settings), progress, signal);
  }

  async #plan(source: ObservedVm, cfgPath: string, settings: CopySettings): Promise<VmPlan> {
    const cfg = parseXlCfg(await this.#cfgFolder.read(cfgPath));
    const disks = disksToCopy(source, cfg).map(({ target, format }) => ({
      path: target,
      format: format === 'qcow2' ? ('qcow2' as const) : ('raw' as const),
    }));
    return planCopy(source, cfg, settings, await this.#disks.survey({ disks, wanted: settings.shape.storage }));
  }
}
