import type { Logger } from 'pino';
import { AppError, messageOf, toAppError, wrongState } from '../../shared/errors.js';
import { formatIpv4 } from '../../shared/domain/ipv4.js';
import { formatMac } from '../../shared/domain/mac.js';
import {
  planConfigure,
  planRename,
  planRestore,
  restoreWarnings,
  type ConfigureStep,
} from '../domain/configure-plan.js';
import type { FormerCfg } from '../domain/former-cfg.js';
import type { GuestSettings } from '../domain/order.js';
import type { ObservedVm } from '../domain/vm.js';
import { parseXlCfg } from '../domain/xl-cfg/xl-cfg.js';
import type { Bridges } from '../ports/bridges.js';
import type { CfgFolder } from '../ports/cfg-folder.js';
import type { FormerCfgs } from '../ports/former-cfgs.js';
import type { Guest, GuestChange, GuestDisk } from '../ports/guest-disk.js';
import type { Intent, IntentLog } from '../ports/intent-log.js';
import type { WireProbe } from '../ports/wire-probe.js';
import type { ReportProgress } from './order-runner.js';

export interface VmConfigurerParts {
  readonly cfgFolder: CfgFolder;
  readonly guestDisk: GuestDisk;
  readonly wire: WireProbe;
  readonly bridges: Bridges;
  /** Changes that are under way. */
  readonly intents: IntentLog;
  readonly formerCfgs: FormerCfgs;
  readonly log: Logger;
}

/** One change of a VM, as far as it came. */
interface Work {
  /** From the moment on that there may be something to undo. */
  intent: Intent | undefined;
  change: GuestChange | undefined;
}

/**
 * Gives a stopped VM its addresses, or the files back that it had before: all of it, or nothing.
 *
 * Invariants:
 * - Guest, cfg and what is kept of the cfg are changed together. Before the first byte of them changes, an intent is durable. Its removal is the moment from which the change
 *   stands: whoever finds one after a death undoes what was done.
 * - A guest's change that is open without an intent stands: only letting go of it was missed.
 * - What is to be undone is read from the cfg and the disk, not remembered: a step that failed may have done its work.
 */
export class VmConfigurer {
  readonly #cfgFolder: CfgFolder;
  readonly #guestDisk: GuestDisk;
  readonly #wire: WireProbe;
  readonly #bridges: Bridges;
  readonly #intents: IntentLog;
  readonly #formerCfgs: FormerCfgs;
  readonly #log: Logger;

  constructor({ cfgFolder, guestDisk, wire, bridges, intents, formerCfgs, log }: VmConfigurerParts) {
    this.#cfgFolder = cfgFolder;
    this.#guestDisk = guestDisk;
    this.#wire = wire;
    this.#bridges = bridges;
    this.#intents = intents;
    this.#formerCfgs = formerCfgs;
    this.#log = log;
  }

  /** Undoes what a death left half done. Before the first order; never throws: what cannot be undone now is tried again. */
  async recover(): Promise<void> {
    const intents = await this.#intents.list().catch((error: unknown) => {
      this.#log.error({ err: error }, 'changes that were left half done cannot be read');
      return [];
    });
    for (const { cfgPath } of intents) {
      await this.settle(cfgPath).catch((error: unknown) => {
        this.#log.error({ err: error, cfgPath }, 'a change that was left half done could not be undone');
      });
    }
  }

  /**
   * An abort between two steps undoes those that were done. Repeating it changes nothing.
   *
   * @param vm as it was observed just now
   * @returns warnings, for people
   * @throws {AppError} `wrong_state` (not stopped, no cfg, no bridge to choose, or the disk refuses), `already_exists`
   *   (somebody else answers for an address: details `address`, `seenMac`), `invalid` (a cfg or guest that cannot be edited),
   *   `not_found` (vif, or the bridge that was asked for)
   */
  async configure(
    vm: ObservedVm,
    settings: GuestSettings,
    progress: ReportProgress,
    signal: AbortSignal,
  ): Promise<readonly string[]> {
    const { guest, former } = await this.#look(vm, 'configured');
    const steps = planConfigure(vm, guest.cfg, settings, await this.#bridges.readBridges(), former);
    return this.#change(guest, steps, progress, signal);
  }

  /**
   * Gives back what cfg and guest were before {@link configure} wrote them first; an abort undoes as it does there. A VM that
   * has them back is left alone.
   *
   * @param vm as it was observed just now
   * @returns warnings, for people
   * @throws {AppError} `wrong_state` (not stopped, no cfg, or the disk refuses), `not_found` (it was never configured, or its
   *   disk is gone), `invalid` (a cfg or disk that cannot be edited)
   */
  async restore(vm: ObservedVm, progress: ReportProgress, signal: AbortSignal): Promise<readonly string[]> {
    const { guest, former } = await this.#look(vm, 'given its former files');
    const { text } = guest.cfg;
    const warnings = restoreWarnings(guest.cfgPath, text, former);
    const steps = planRestore(vm, text, former);
    if (steps.length === 0) return [];
    return [...(await this.#change(guest, steps, progress, signal)), ...warnings];
  }

  /**
   * Gives it another name, in cfg and guest; all of it or nothing, as {@link configure}. A guest that cannot be looked into is
   * left alone.
   *
   * @param vm as it was observed just now
   * @returns warnings, for people
   * @throws {AppError} as {@link configure}
   */
  async rename(
    vm: ObservedVm,
    name: string,
    settings: GuestSettings,
    progress: ReportProgress,
    signal: AbortSignal,
  ): Promise<readonly string[]> {
    const { guest, former } = await this.#look(vm, 'renamed');
    const isKnown = (await this.#guestDisk.read(guest)) !== undefined;
    const steps = planRename(vm, guest.cfg, name, isKnown ? settings : undefined, former);
    const warnings = await this.#change({ ...guest, name }, steps, progress, signal);
    return isKnown ? warnings : [...warnings, `the guest of ${name} cannot be looked into: it calls itself as before`];
  }

  async #look(
    { name, cfgPath }: ObservedVm,
    what: string,
  ): Promise<{ readonly guest: Guest; readonly former: FormerCfg | undefined }> {
    if (cfgPath === undefined) throw wrongState(`${name} has no cfg file: it cannot be ${what}`);
    // The VM was observed before this: what it undoes concerns files, and those are read after it.
    await this.settle(cfgPath);
    const cfg = parseXlCfg(await this.#cfgFolder.read(cfgPath));
    return { guest: { name, cfgPath, cfg }, former: await this.#formerCfgs.find(cfgPath) };
  }

  async #change(
    guest: Guest,
    steps: readonly ConfigureStep[],
    progress: ReportProgress,
    signal: AbortSignal,
  ): Promise<readonly string[]> {
    const work: Work = { intent: undefined, change: undefined };
    try {
      for (const [n, step] of steps.entries()) {
        signal.throwIfAborted();
        progress(describeStep(step), Math.round((n * 100) / steps.length));
        await this.#run(step, guest, work, signal);
      }
      await this.#readBack(guest, steps);
      if (work.intent !== undefined) await this.#formerCfgs.put(guest.cfgPath, work.intent.formerAfter);
      await this.#intents.end(guest.cfgPath);
    } catch (error) {
      throw await this.#undoFailed(work, toAppError(error));
    }
    await this.#letGo(guest.cfgPath, work.change);
    return work.change?.warnings ?? [];
  }

  async #run(step: ConfigureStep, guest: Guest, work: Work, signal: AbortSignal): Promise<void> {
    switch (step.kind) {
      case 'probe':
        return this.#probe(step, signal);
      case 'note intent': {
        const { before, after, formerBefore, formerAfter } = step;
        work.intent = { cfgPath: guest.cfgPath, before, after, formerBefore, formerAfter };
        return this.#intents.begin(work.intent);
      }
      case 'write guest':
        work.change = await this.#guestDisk.write(guest, step.settings, signal);
        return;
      case 'restore guest':
        work.change = await this.#guestDisk.restore(guest, signal);
        return;
      case 'write cfg':
        return this.#cfgFolder.replace(guest.cfgPath, step.before, step.after);
    }
  }

  /**
   * After a death, or an undo that failed: an intent's change is undone, one without an intent stands.
   *
   * @throws {AppError} if it cannot be done now: then the VM is half changed and must not run
   */
  async settle(cfgPath: string): Promise<void> {
    const intent = await this.#intents.find(cfgPath);
    if (intent === undefined) return (await this.#guestDisk.findOpen(cfgPath))?.keep();
    await this.#undo(intent, async (change, error) => {
      // The guest ran in the meantime: its disk cannot be put back, and is written anew when it is addressed again.
      if (toAppError(error).code !== 'raced') throw error;
      this.#log.error(
        { err: error, cfgPath },
        'the guest ran between a change and its undoing: its files stay as they are',
      );
      return change.keep();
    });
    this.#log.warn({ cfgPath }, 'a change that was left half done was undone');
  }

  /** The intent goes last: until then whatever stops this is no harm. @param onStuck returns if the guest's change stands */
  async #undo(intent: Intent, onStuck: (change: GuestChange, error: unknown) => Promise<void>): Promise<void> {
    await this.#undoCfg(intent);
    const change = await this.#guestDisk.findOpen(intent.cfgPath);
    let former = intent.formerBefore;
    await change?.undo().catch(async (error: unknown) => {
      await onStuck(change, error);
      if (former?.kind !== 'kept') former = intent.formerAfter;
    });
    // An agent that kept nothing knew of none.
    if (intent.formerAfter !== undefined) await this.#formerCfgs.put(intent.cfgPath, former);
    await this.#intents.end(intent.cfgPath);
  }

  async #undoCfg({ cfgPath, before, after }: Intent): Promise<void> {
    const now = await this.#cfgFolder.read(cfgPath).catch((error: unknown) => {
      if (toAppError(error).code !== 'not_found') throw error;
      return undefined;
    });
    // Gone, or edited by hand since: that is not this change's any more.
    if (now === after && before !== after) await this.#cfgFolder.replace(cfgPath, after, before);
  }

  async #letGo(cfgPath: string, change: GuestChange | undefined): Promise<void> {
    await change?.keep().catch((error: unknown) => {
      this.#log.warn({ err: error, cfgPath }, 'what an undo would need could not be let go');
    });
  }

  async #probe(step: Extract<ConfigureStep, { kind: 'probe' }>, signal: AbortSignal): Promise<void> {
    const answer = await this.#wire.probe(step.address, step.bridge, signal);
    // An answer from the MAC of the lease is its owner: the VM itself, a moment ago.
    if (answer.kind === 'silent' || answer.mac === step.mac) return;
    const address = formatIpv4(step.address);
    const seenMac = formatMac(answer.mac);
    throw new AppError('already_exists', `${address} is in use on the wire: ${seenMac} answers`, { address, seenMac });
  }

  async #readBack(guest: Guest, steps: readonly ConfigureStep[]): Promise<void> {
    const wrong = (what: string): AppError => wrongState(`${guest.name}: ${what} does not hold what was written to it`);
    for (const step of steps) {
      if (step.kind === 'write cfg' && (await this.#cfgFolder.read(guest.cfgPath)) !== step.after) {
        throw wrong(guest.cfgPath);
      }
      if (step.kind !== 'write guest') continue;
      const network = await this.#guestDisk.read(guest);
      const isRight = step.settings.vifs.every((vif) => network?.addresses.get(vif.index) === vif.address);
      if (!isRight) throw wrong('its disk');
    }
  }

  /** @returns the error to report: the first one, with what could not be undone */
  async #undoFailed({ intent }: Work, cause: AppError): Promise<AppError> {
    if (intent === undefined) return cause;
    try {
      await this.#undo(intent, (_change, error) => Promise.reject(toAppError(error)));
      return cause;
    } catch (error) {
      // The intent stays: it is tried again at the next order for this VM, or the next start of the agent.
      this.#log.error({ err: error, cfgPath: intent.cfgPath }, 'a change that failed could not be undone');
      const notUndone = messageOf(error);
      return new AppError(cause.code, cause.message, { ...cause.details, notUndone }, cause);
    }
  }
}

function describeStep(step: ConfigureStep): string {
  return step.kind === 'probe' ? `ask the wire for ${formatIpv4(step.address)}` : step.kind;
}
