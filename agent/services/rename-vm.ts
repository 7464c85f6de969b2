import type { Logger } from 'pino';
import { AppError, messageOf, toAppError, wrongState } from '../../shared/errors.js';
import { formerAfterRename } from '../domain/former-cfg.js';
import type { RenameOrder } from '../domain/order.js';
import type { ObservedVm } from '../domain/vm.js';
import { cfgName, parseXlCfg } from '../domain/xl-cfg/xl-cfg.js';
import type { Autostart } from '../ports/autostart.js';
import type { CfgFolder } from '../ports/cfg-folder.js';
import type { CopyLog } from '../ports/copy-log.js';
import type { FormerCfgs } from '../ports/former-cfgs.js';
import type { GuestDisk } from '../ports/guest-disk.js';
import type { RenameLog, Renaming } from '../ports/rename-log.js';
import type { VmConfigurer } from './configure-vm.js';
import type { ReportProgress } from './order-runner.js';

export interface VmRenamerParts {
  readonly cfgFolder: CfgFolder;
  readonly guestDisk: Pick<GuestDisk, 'follow'>;
  readonly formerCfgs: FormerCfgs;
  readonly copies: CopyLog;
  readonly autostart: Autostart;
  readonly renames: RenameLog;
  readonly configurer: Pick<VmConfigurer, 'rename' | 'settle'>;
  readonly log: Logger;
}

/**
 * Gives stopped VMs other names.
 *
 * Invariants:
 * - Before anything changes a record is durable. Cfg and guest have the new name, or the old one; from the moment that they
 *   have the new one, all the rest is gone on with, by whoever finds the record.
 * - At any time there is one cfg file of the VM, and what makes it start at boot leads to it or is not there.
 */
export class VmRenamer {
  readonly #parts: VmRenamerParts;

  constructor(parts: VmRenamerParts) {
    this.#parts = parts;
  }

  /** Ends what a death left half done. After the configurer's; never throws: what cannot be ended now is tried again. */
  async recover(): Promise<void> {
    const { renames, log } = this.#parts;
    try {
      for (const { from } of await renames.list()) await this.#settle(from);
    } catch (error) {
      log.error({ err: error }, 'a VM that was half renamed could not be renamed now');
    }
  }

  /**
   * @param vm as it was observed just now
   * @returns warnings, for people
   * @throws {AppError} as {@link VmConfigurer.rename}; `already_exists` (a file of that name)
   */
  async rename(
    vm: ObservedVm,
    { name, cfgPath: to, guest }: RenameOrder,
    progress: ReportProgress,
    signal: AbortSignal,
  ): Promise<readonly string[]> {
    const { cfgFolder, autostart, renames, configurer } = this.#parts;
    const from = vm.cfgPath;
    if (from === undefined) throw wrongState(`${vm.name} has no cfg file: it cannot be renamed`);
    await this.#settle(from);
    const isThere = to !== from && (await cfgFolder.list()).some(({ path }) => path === to);
    if (isThere) throw new AppError('already_exists', `There is a file ${to} already`, { path: to });
    const renaming = { from, to, name, isAutostarted: (await autostart.list()).has(from) };
    await renames.begin(renaming);
    let warnings: readonly string[];
    try {
      warnings = await configurer.rename(vm, name, guest, progress, signal);
    } catch (error) {
      await renames.end(from);
      throw error;
    }
    progress(`rename ${from} to ${to}`);
    return [...warnings, ...(await this.#goOn(renaming))];
  }

  /** What was begun is ended: forwards, if cfg and guest have the new name. @throws {AppError} `unavailable` */
  async #settle(from: string): Promise<void> {
    const { renames, configurer, log } = this.#parts;
    const renaming = await renames.find(from);
    if (renaming === undefined) return;
    await configurer.settle(from);
    const isNamed = await this.#isNamed(renaming);
    if (!isNamed) return renames.end(from);
    const warnings = await this.#goOn(renaming);
    log.warn({ ...renaming, warnings }, 'a VM that was half renamed was renamed');
  }

  /** One whose file has moved has the name. */
  async #isNamed({ from, name }: Renaming): Promise<boolean> {
    try {
      return cfgName(parseXlCfg(await this.#parts.cfgFolder.read(from))) === name;
    } catch (error) {
      if (toAppError(error).code === 'not_found') return true;
      throw error;
    }
  }

  /** Each step may have been done. @returns warnings, for people */
  async #goOn({ from, to, name, isAutostarted }: Renaming): Promise<readonly string[]> {
    const { cfgFolder, guestDisk, formerCfgs, copies, autostart, renames } = this.#parts;
    if (from === to) {
      await renames.end(from);
      return [];
    }
    const record = await copies.find(from);
    if (record) await copies.put({ ...record, cfgPath: to });
    const former = await formerCfgs.find(from);
    if (former) await formerCfgs.put(to, formerAfterRename(former, name));
    await guestDisk.follow(from, to);
    // An entry that leads nowhere would make xendomains fail for all.
    if (isAutostarted) await autostart.set(from, false);
    await cfgFolder.move(from, to);
    const problem = isAutostarted ? await autostart.set(to, true).catch(messageOf) : undefined;
    await copies.remove(from);
    await formerCfgs.put(from, undefined);
    await renames.end(from);
    return problem === undefined ? [] : [`its host does not start it at boot any more: ${problem}`];
  }
}
