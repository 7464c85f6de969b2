import type { FilePiece, TransferFile } from '../../shared/domain/transfer.js';
import { AppError, notFound, wrongState } from '../../shared/errors.js';
import type { DiskImage } from '../domain/new-disk.js';
import type { SendOrder } from '../domain/order.js';
import { disksToSend } from '../domain/received-vm.js';
import type { ObservedVm } from '../domain/vm.js';
import { parseXlCfg } from '../domain/xl-cfg/xl-cfg.js';
import type { CfgFolder } from '../ports/cfg-folder.js';
import type { DiskContent } from '../ports/disk-content.js';
import type { DiskStore } from '../ports/disk-store.js';
import type { SeedReader } from '../ports/seed-maker.js';
import type { TransferLink } from '../ports/transfer-link.js';
import type { Observer } from './observe.js';
import type { ReportProgress } from './order-runner.js';
import { refuseSeedless } from './source-seed.js';

export interface VmSenderParts {
  readonly observer: Observer;
  readonly cfgFolder: CfgFolder;
  readonly disks: DiskStore;
  readonly diskContent: DiskContent;
  readonly transfers: TransferLink;
  readonly seeds: SeedReader;
}

/**
 * Sends stopped VMs to other hosts: cfg and the disks that they write. Nothing of the VM changes.
 *
 * Invariant: what was sent to its end is a VM that was stopped from the first byte to the last.
 */
export class VmSender {
  readonly #parts: VmSenderParts;

  constructor(parts: VmSenderParts) {
    this.#parts = parts;
  }

  /**
   * @param vm as it was observed just now
   * @throws {AppError} `wrong_state` (not stopped, no cfg, no seed where it needs one), `invalid` (a disk whose bytes cannot be told), `not_found` (a disk),
   *   `raced` (it was started meanwhile), what ended the transfer
   */
  async send(
    vm: ObservedVm,
    { transferId, needsSeed = false }: SendOrder,
    progress: ReportProgress,
    signal: AbortSignal,
  ): Promise<void> {
    const { cfgFolder, transfers, seeds } = this.#parts;
    if (vm.cfgPath === undefined) throw wrongState(`${vm.name} has no cfg file: it cannot go to another host`);
    const cfgText = await cfgFolder.read(vm.cfgPath);
    const cfg = parseXlCfg(cfgText);
    const disks = disksToSend(vm, cfg);
    if (needsSeed) await refuseSeedless(vm.name, cfg, disks, seeds, signal);
    const files = await Promise.all(disks.map((disk) => this.#fileOf(disk)));
    progress(`send ${files.map(({ name }) => name).join(', ') || 'its cfg'}`);
    await transfers.send(transferId, { files, cfgText }, this.#pieces(vm, disks, signal), signal);
  }

  async #fileOf({ path, format }: DiskImage): Promise<TransferFile> {
    const found = await this.#parts.disks.find(path, format);
    if (found === undefined) throw notFound(`There is no disk ${path}`, { disk: path });
    const { sizeBytes, usedBytes, contentBytes = usedBytes } = found;
    return { name: path, sizeBytes, usedBytes: Math.min(contentBytes, sizeBytes) };
  }

  async *#pieces(
    vm: ObservedVm,
    disks: readonly DiskImage[],
    signal: AbortSignal,
  ): AsyncGenerator<FilePiece, void, undefined> {
    for (const [n, disk] of disks.entries()) yield* this.#parts.diskContent.read(disk, n, signal);
    // Somebody may have typed xl create: then what went is of no use, and the other end must not take it for whole.
    const present = await this.#parts.observer.find(vm.key);
    if (present?.state === 'stopped') return;
    throw new AppError('raced', `${vm.name} is ${present?.state ?? 'gone'}: it was stopped when its sending began`);
  }
}
