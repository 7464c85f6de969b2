import type { Logger } from 'pino';
import { AppError, messageOf, toAppError, wrongState } from '../../shared/errors.js';
import { formatIpv4 } from '../../shared/domain/ipv4.js';
import { formatMac } from '../../shared/domain/mac.js';
import { planConfigure, type ConfigureStep } from '../domain/configure-plan.js';
import type { GuestSettings } from '../domain/order.js';
import type { ObservedVm } from '../domain/vm.js';
import { parseXlCfg } from '../domain/xl-cfg/xl-cfg.js';
import type { Bridges } from '../ports/bridges.js';
import type { CfgFolder } from '../ports/cfg-folder.js';
import type { Guest, GuestDisk } from '../ports/guest-disk.js';
import type { WireProbe } from '../ports/wire-probe.js';
import type { ReportProgress } from './order-runner.js';

type Undo = () => Promise<void>;

export interface VmConfigurerParts {
  readonly cfgFolder: CfgFolder;
  readonly guestDisk: GuestDisk;
  readonly wire: WireProbe;
  readonly bridges: Bridges;
  readonly log: Logger;
}

/** Gives a stopped VM its addresses: all of it, or nothing. */
export class VmConfigurer {
  readonly #cfgFolder: CfgFolder;
  readonly #guestDisk: GuestDisk;
  readonly #wire: WireProbe;
  readonly #bridges: Bridges;
  readonly #log: Logger;

  constructor({ cfgFolder, guestDisk, wire, bridges, log }: VmConfigurerParts) {
    this.#cfgFolder = cfgFolder;
    this.#guestDisk = guestDisk;
    this.#wire = wire;
    this.#bridges = bridges;
    this.#log = log;
  }

  /**
   * An abort between two steps undoes those that were done. Repeating it changes nothing.
   *
   * @param vm as it was observed just now
   * @throws {AppError} `wrong_state` (not stopped, no cfg, no bridge to choose, or the disk refuses), `already_exists`
   *   (somebody else answers for an address: details `address`, `seenMac`), `invalid` (a cfg or guest that cannot be edited),
   *   `not_found` (vif, or the bridge that was asked for)
   */
  async configure(
    vm: ObservedVm,
    settings: GuestSettings,
    progress: ReportProgress,
    signal: AbortSignal,
  ): Promise<void> {
    if (vm.cfgPath === undefined) throw wrongState(`${vm.name} has no cfg file: it cannot be configured`);
    const cfg = parseXlCfg(await this.#cfgFolder.read(vm.cfgPath));
    const guest = { name: vm.name, cfgPath: vm.cfgPath, cfg };
    const steps = planConfigure(vm, cfg, settings, await this.#bridges.readBridges());
    const undos: Undo[] = [];
    try {
      for (const [n, step] of steps.entries()) {
        signal.throwIfAborted();
        progress(describeStep(step), Math.round((n * 100) / steps.length));
        const undo = await this.#run(step, guest, signal);
        if (undo !== undefined) undos.push(undo);
      }
      await this.#readBack(guest, steps);
    } catch (error) {
      throw await this.#undoAll(undos, toAppError(error));
    }
  }

  async #run(step: ConfigureStep, guest: Guest, signal: AbortSignal): Promise<Undo | undefined> {
    switch (step.kind) {
      case 'probe':
        return this.#probe(step, signal);
      case 'write guest': {
        const change = await this.#guestDisk.write(guest, step.settings, signal);
        return () => change.undo();
      }
      case 'write cfg':
        await this.#cfgFolder.replace(guest.cfgPath, step.before, step.after);
        return () => this.#cfgFolder.replace(guest.cfgPath, step.after, step.before);
    }
  }

  async #probe(step: Extract<ConfigureStep, { kind: 'probe' }>, signal: AbortSignal): Promise<undefined> {
    const answer = await this.#wire.probe(step.address, step.bridge, signal);
    // An answer from the MAC of the lease is its owner: the VM itself, a moment ago.
    if (answer.kind === 'silent' || answer.mac === step.mac) return undefined;
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
  async #undoAll(undos: readonly Undo[], cause: AppError): Promise<AppError> {
    const failures: string[] = [];
    for (const undo of undos.toReversed()) {
      await undo().catch((error: unknown) => {
        this.#log.error({ err: error }, 'a step could not be undone');
        failures.push(messageOf(error));
      });
    }
    if (failures.length === 0) return cause;
    return new AppError(cause.code, cause.message, { ...cause.details, notUndone: failures.join('; ') }, cause);
  }
}

function describeStep(step: ConfigureStep): string {
  return step.kind === 'probe' ? `ask the wire for ${formatIpv4(step.address)}` : step.kind;
}
