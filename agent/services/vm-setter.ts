import { wrongState } from '../../shared/errors.js';
import type { SetOrder } from '../domain/order.js';
import { planSet } from '../domain/set-plan.js';
import type { ObservedVm } from '../domain/vm.js';
import { formatXlCfg, parseXlCfg } from '../domain/xl-cfg/xl-cfg.js';
import type { Autostart } from '../ports/autostart.js';
import type { CfgFolder } from '../ports/cfg-folder.js';
import type { Toolstack } from '../ports/toolstack.js';
import type { VmConfigurer } from './configure-vm.js';
import type { ReportProgress } from './order-runner.js';

export interface VmSetterParts {
  readonly cfgFolder: CfgFolder;
  readonly toolstack: Toolstack;
  readonly autostart: Autostart;
  readonly configurer: Pick<VmConfigurer, 'settle'>;
}

/** Changes what VMs are like. Repeating it changes nothing. */
export class VmSetter {
  readonly #parts: VmSetterParts;

  constructor(parts: VmSetterParts) {
    this.#parts = parts;
  }

  /**
   * The cfg first: should the rest fail, the next start has it all the same.
   *
   * @param vm as it was observed just now
   * @returns warnings, for people
   * @throws {AppError} `wrong_state` (no cfg, or one that xl refuses; xl fails), `invalid` (a key that holds a list), `raced`,
   *   `timeout`, `unavailable`
   */
  async set(
    vm: ObservedVm,
    order: SetOrder,
    progress: ReportProgress,
    signal: AbortSignal,
  ): Promise<readonly string[]> {
    const { cfgFolder, toolstack, configurer } = this.#parts;
    const cfgPath = cfgPathOf(vm);
    if (vm.state === 'unknown')
      throw wrongState(`${vm.name} cannot be changed: ${vm.problem ?? 'its state is not known'}`);
    await configurer.settle(cfgPath);
    const before = await cfgFolder.read(cfgPath);
    const limits = vm.state === 'stopped' ? undefined : await toolstack.readLimits(vm.name);
    const { cfg, resize, warnings } = planSet(vm.name, parseXlCfg(before), order, limits);
    const after = formatXlCfg(cfg);
    if (after !== before) {
      signal.throwIfAborted();
      progress('write cfg');
      await cfgFolder.replace(cfgPath, before, after);
    }
    if (Object.keys(resize).length > 0) {
      progress('change what runs');
      await toolstack.resize(vm.name, resize, signal);
    }
    return warnings;
  }

  /** @throws {AppError} `wrong_state` (no cfg), `already_exists` (something else is in the way), `unavailable` */
  async setAutostart(vm: ObservedVm, isOn: boolean): Promise<void> {
    await this.#parts.autostart.set(cfgPathOf(vm), isOn);
  }
}

function cfgPathOf({ name, cfgPath }: ObservedVm): string {
  if (cfgPath !== undefined) return cfgPath;
  throw wrongState(`${name} has no cfg file: it was made by hand`, { hint: 'write one on the host, in /etc/xen' });
}
