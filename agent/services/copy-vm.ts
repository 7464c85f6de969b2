import { wrongState } from '../../shared/errors.js';
import { planCopy, type CopySettings } from '../domain/copy-plan.js';
import type { ObservedVm } from '../domain/vm.js';
import { parseXlCfg } from '../domain/xl-cfg/xl-cfg.js';
import type { CfgFolder } from '../ports/cfg-folder.js';
import type { ReportProgress } from './order-runner.js';
import type { VmMaker } from './vm-maker.js';

/** Makes VMs that are copies of others on this host. */
export class VmCopier {
  readonly #cfgFolder: CfgFolder;
  readonly #maker: VmMaker;

  constructor(cfgFolder: CfgFolder, maker: VmMaker) {
    this.#cfgFolder = cfgFolder;
    this.#maker = maker;
  }

  /**
   * @param source as it was observed just now
   * @param cfgPath of the new VM
   * @returns warnings, for people
   * @throws {AppError} as {@link VmMaker.make}; `wrong_state` (source not stopped, no cfg), `invalid` (a disk that is no image
   *   file)
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
    const plan = async () => planCopy(source, parseXlCfg(await this.#cfgFolder.read(from)), settings);
    return this.#maker.make(cfgPath, plan, progress, signal);
  }
}
