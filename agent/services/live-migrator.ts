import { refuseCreate } from '../../shared/domain/bridge.js';
import type { LiveAdmission, LiveOffer } from '../../shared/domain/live-migration.js';
import { AppError, notFound, wrongState } from '../../shared/errors.js';
import { awayNameOf, checkMemory, incomingNameOf, planOffer } from '../domain/live-move.js';
import { filesNeeded } from '../domain/received-vm.js';
import type { Domain, ObservedVm } from '../domain/vm.js';
import { listVifs } from '../domain/xl-cfg/vif.js';
import { parseXlCfg } from '../domain/xl-cfg/xl-cfg.js';
import type { Arrivals } from '../ports/arrivals.js';
import type { Bridges } from '../ports/bridges.js';
import type { CfgFolder } from '../ports/cfg-folder.js';
import type { HostFiles } from '../ports/host-files.js';
import type { HostReport } from '../ports/host-report.js';
import type { LiveMover } from '../ports/live-mover.js';
import type { Toolstack } from '../ports/toolstack.js';
import type { Observer } from './observe.js';
import type { ReportProgress } from './order-runner.js';
import type { VmMaker } from './vm-maker.js';

export interface LiveMigratorParts {
  readonly observer: Observer;
  readonly toolstack: Toolstack;
  readonly cfgFolder: CfgFolder;
  readonly bridges: Bridges;
  readonly hostFiles: HostFiles;
  readonly hostReport: HostReport;
  readonly mover: LiveMover;
  readonly arrivals: Arrivals;
  readonly maker: VmMaker;
}

/**
 * Takes VMs to other hosts while they run, and lets them in.
 *
 * Invariants:
 * - What was let in once is settled: its domain is here and has its cfg, or neither is.
 * - A domain that runs is never ended here.
 */
export class LiveMigrator {
  readonly #parts: LiveMigratorParts;

  constructor(parts: LiveMigratorParts) {
    this.#parts = parts;
  }

  /** @throws {AppError} `wrong_state` (it cannot go live: details `hint`), `unavailable` */
  async offer(vm: ObservedVm, id: string, signal: AbortSignal): Promise<LiveOffer> {
    const { cfgFolder, mover } = this.#parts;
    if (vm.cfgPath === undefined) throw wrongState(`${vm.name} has no cfg file: it cannot go to another host`);
    const cfgText = await cfgFolder.read(vm.cfgPath);
    const offered = await mover.offer(id, planOffer(vm, parseXlCfg(cfgText)), signal);
    return { name: vm.name, uuid: vm.uuid ?? '', memoryMib: vm.memoryMib, cfgText, ...offered };
  }

  /**
   * @param cfgPath of the VM here
   * @throws {AppError} `wrong_state`, `not_found` (a file that its cfg names), `already_exists`, `exhausted` (memory), `unavailable`
   */
  async admit(cfgPath: string, id: string, offer: LiveOffer, signal: AbortSignal): Promise<LiveAdmission> {
    const { arrivals, cfgFolder, mover } = this.#parts;
    const { name, cfgText } = offer;
    await this.#check(cfgPath, offer);
    // Let in last: what comes has its cfg here.
    await arrivals.put({ cfgPath, migrationId: id, name, cfgText, hasCome: false });
    try {
      await cfgFolder.add(cfgPath, cfgText);
      return await mover.admit(id, cfgPath, offer, signal);
    } catch (error) {
      await mover.closeArrival(id);
      await this.#forget(cfgPath, cfgText);
      throw error;
    }
  }

  /** @throws {AppError} as {@link LiveMover.handOver}, and `wrong_state` if it does not run */
  async handOver(
    vm: ObservedVm,
    id: string,
    offer: LiveOffer,
    admission: LiveAdmission,
    progress: ReportProgress,
    signal: AbortSignal,
  ): Promise<void> {
    if (vm.state !== 'running') throw wrongState(`${vm.name} is ${vm.state}: it ran when it was to go`);
    await this.#parts.mover.handOver(id, offer, admission, progress, signal);
  }

  /** @throws {AppError} `not_found` (it has not come, and will not), `unavailable` */
  async settleArrival(cfgPath: string, id: string, signal: AbortSignal): Promise<void> {
    const { arrivals, mover, toolstack } = this.#parts;
    const arrival = await arrivals.find(cfgPath);
    if (arrival?.migrationId !== id) throw notFound(`Nothing was let in as ${cfgPath}`, { path: cfgPath });
    if (arrival.hasCome) return;
    const { name, cfgText } = arrival;
    await mover.closeArrival(id);
    const domains = await toolstack.listDomains();
    const come = domains.find((domain) => domain.name === name);
    if (come === undefined) {
      // It never ran: its host had not given it up.
      if (domains.some((domain) => domain.name === incomingNameOf(name)))
        await toolstack.destroy(incomingNameOf(name), signal);
      await this.#forget(cfgPath, cfgText);
      throw notFound(`${name} has not come`, { path: cfgPath });
    }
    // It has its name when its host has given it up: whoever was to start it may have been killed.
    if (come.state === 'paused' || come.state === 'starting') await this.#unpause(name, signal);
    await arrivals.put({ ...arrival, hasCome: true });
  }

  /**
   * @param vm `undefined`: it is gone already
   * @param isMoved the other host has it
   * @throws {AppError} `wrong_state` if it runs here though the other host has it; `unavailable`
   */
  async settleDeparture(vm: ObservedVm | undefined, id: string, isMoved: boolean, signal: AbortSignal): Promise<void> {
    const { mover, toolstack, maker } = this.#parts;
    await mover.closeDeparture(id);
    if (vm === undefined) return;
    const { name } = vm;
    if ((await this.#find(awayNameOf(name))) !== undefined) await toolstack.destroy(awayNameOf(name), signal);
    if (!isMoved) return;
    const left = await this.#find(name);
    if (left === undefined) return maker.forsake(vm);
    throw wrongState(`${name} is ${left.state} here, and another host has it too`, { hint: 'xl list, on both hosts' });
  }

  async #check(cfgPath: string, offer: LiveOffer): Promise<void> {
    const { observer, bridges, hostFiles, hostReport, toolstack } = this.#parts;
    const { name, cfgText } = offer;
    const [vms, domains] = await Promise.all([observer.observe(), toolstack.listDomains()]);
    const taken = vms.find((vm) => vm.key === cfgPath || vm.name === name)?.key;
    const names = [name, incomingNameOf(name)];
    if (taken !== undefined || domains.some((domain) => names.includes(domain.name))) {
      throw new AppError('already_exists', `There is a VM ${name} already: ${taken ?? 'a domain'}`, { name });
    }
    const cfg = parseXlCfg(cfgText);
    const vifs = listVifs(cfg).map(({ index, bridge, script }) => ({ index, named: bridge, script }));
    const refusal = refuseCreate(name, vifs, await bridges.readBridges());
    if (refusal) throw refusal;
    for (const path of filesNeeded(cfg)) {
      if (path.startsWith('/dev/') || (await hostFiles.exists(path))) continue;
      throw notFound(`There is no ${path} here, which its cfg names`, {
        path,
        hint: 'copy it there, at the same path',
      });
    }
    checkMemory(offer, await hostReport.readMemoryFreeMib());
  }

  async #forget(cfgPath: string, cfgText: string): Promise<void> {
    await this.#parts.cfgFolder.remove(cfgPath, cfgText);
    await this.#parts.arrivals.remove(cfgPath);
  }

  /** One that was started by its own xl is not paused. */
  async #unpause(name: string, signal: AbortSignal): Promise<void> {
    try {
      await this.#parts.toolstack.unpause(name, signal);
    } catch (error) {
      if ((await this.#find(name))?.state === 'paused') throw error;
    }
  }

  async #find(name: string): Promise<Domain | undefined> {
    return (await this.#parts.toolstack.listDomains()).find((domain) => domain.name === name);
  }
}
