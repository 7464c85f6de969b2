import type { FilePiece } from '../../shared/domain/transfer.js';
import type { Storage } from '../../shared/domain/vm-shape.js';
import { AppError, invalid, notFound } from '../../shared/errors.js';
import type { ReceiveOrder } from '../domain/order.js';
import { chooseOwnStore, type OwnStore } from '../domain/own-store.js';
import { filesNeeded, pathsForMoved, planMoved, planReceivedCopy, type ReceivedVm } from '../domain/received-vm.js';
import type { VmPlan } from '../domain/vm-plan.js';
import { diskFolder } from '../domain/image/image-plan.js';
import { parseXlCfg } from '../domain/xl-cfg/xl-cfg.js';
import type { BootFiles } from '../ports/boot-files.js';
import type { CfgFolder } from '../ports/cfg-folder.js';
import type { DiskStore } from '../ports/disk-store.js';
import type { HostFiles } from '../ports/host-files.js';
import type { IncomingTransfer, TransferLink } from '../ports/transfer-link.js';
import { bootAsAsked } from './asked-boot.js';
import type { ReportProgress } from './order-runner.js';
import { readCfgs } from './read-cfgs.js';
import type { VmMaker } from './vm-maker.js';

export interface VmReceiverParts {
  readonly cfgFolder: CfgFolder;
  readonly disks: DiskStore;
  readonly hostFiles: HostFiles;
  readonly bootFiles: BootFiles;
  readonly transfers: TransferLink;
  readonly maker: VmMaker;
}

/** Makes VMs of what other hosts send: all of one, or nothing. Nothing is written before it is known that it has what it needs. */
export class VmReceiver {
  readonly #parts: VmReceiverParts;

  constructor(parts: VmReceiverParts) {
    this.#parts = parts;
  }

  /**
   * @param cfgPath of the new VM
   * @returns warnings, for people
   * @throws {AppError} as {@link VmMaker.make} and {@link bootAsAsked}; `not_found` (a file that its cfg names is not here); `invalid`, `exhausted` (its disks cannot
   *   be kept as is asked for); what ended the transfer
   */
  async receive(
    cfgPath: string,
    order: ReceiveOrder,
    progress: ReportProgress,
    signal: AbortSignal,
  ): Promise<readonly string[]> {
    // A copy that is there is done. The VM itself may have changed since somebody sent it.
    if (order.copy === undefined) await this.#refuseCfg(cfgPath);
    let incoming: IncomingTransfer | undefined;
    const planOf = async (): Promise<VmPlan> => {
      incoming = await this.#parts.transfers.receive(order.transferId, signal);
      return this.#planOf(incoming, order, progress);
    };
    try {
      return await this.#parts.maker.make(cfgPath, planOf, progress, signal);
    } finally {
      incoming?.close();
    }
  }

  async #planOf(
    { head, pieces }: IncomingTransfer,
    { copy, storage = copy?.shape.storage }: ReceiveOrder,
    progress: ReportProgress,
  ): Promise<VmPlan> {
    if (head.cfgText === undefined) throw invalid('What came is no VM: it has no cfg');
    // First: what the source boots with need not be here.
    const cfg = await bootAsAsked(parseXlCfg(head.cfgText), copy?.shape.boot, this.#parts.bootFiles, progress);
    for (const path of filesNeeded(cfg)) {
      if (!(await this.#parts.hostFiles.exists(path))) throw missing(path);
    }
    const totalBytes = head.files.reduce((sum, { usedBytes }) => sum + usedBytes, 0);
    const parts = new PiecesByFile(counted(pieces, totalBytes, progress));
    const received: ReceivedVm = { cfg, head, piecesOf: (file) => parts.of(file, file === head.files.length - 1) };
    const folder = diskFolder(await readCfgs(this.#parts.cfgFolder));
    const facts = { folder, store: await this.#storeOf(storage) };
    if (head.files.length === 0) await parts.finish();
    if (copy !== undefined) return planReceivedCopy(received, copy, facts);
    return planMoved(received, facts, await this.#taken(received, folder));
  }

  async #storeOf(storage: Storage | undefined): Promise<OwnStore> {
    const facts = await this.#parts.disks.survey({ disks: [], wanted: storage });
    return chooseOwnStore(storage, facts, 'its source is on another host');
  }

  async #taken({ cfg }: ReceivedVm, folder: string): Promise<ReadonlySet<string>> {
    const paths = pathsForMoved(cfg, folder);
    const found = await Promise.all(paths.map((path) => this.#isTaken(path)));
    return new Set(paths.filter((_, n) => found[n]));
  }

  async #isTaken(path: string): Promise<boolean> {
    try {
      return (await this.#parts.disks.find(path)) !== undefined;
    } catch (error) {
      // Something that is no disk.
      if (error instanceof AppError && error.code === 'invalid') return true;
      throw error;
    }
  }

  async #refuseCfg(cfgPath: string): Promise<void> {
    if (!(await this.#parts.cfgFolder.list()).some(({ path }) => path === cfgPath)) return;
    throw new AppError('already_exists', `There is a file ${cfgPath} already`, { path: cfgPath });
  }
}

/** Files come one after the other: each is read for itself, the last one to the end of all, where the checksum is. */
class PiecesByFile {
  readonly #iterator: AsyncIterator<FilePiece>;
  #next: FilePiece | undefined;

  constructor(pieces: AsyncIterable<FilePiece>) {
    this.#iterator = pieces[Symbol.asyncIterator]();
  }

  async *of(file: number, isLast: boolean): AsyncGenerator<FilePiece, void, undefined> {
    for (;;) {
      const piece = this.#next ?? (await this.#read());
      if (piece === undefined) return;
      this.#next = piece;
      if (piece.file < file || (isLast && piece.file > file)) throw invalid('The disks come in no order');
      if (piece.file > file) return;
      this.#next = undefined;
      yield piece;
    }
  }

  async finish(): Promise<void> {
    if ((await this.#read()) !== undefined) throw invalid('What comes is of no file that was told of');
  }

  async #read(): Promise<FilePiece | undefined> {
    const next = await this.#iterator.next();
    return next.done === true ? undefined : next.value;
  }
}

async function* counted(
  pieces: AsyncIterable<FilePiece>,
  totalBytes: number,
  progress: ReportProgress,
): AsyncGenerator<FilePiece, void, undefined> {
  let bytes = 0;
  let told = -1;
  for await (const piece of pieces) {
    yield piece;
    bytes += piece.bytes.length;
    // A guest's disk that is full of zeros takes more room than what comes of it.
    const percent = Math.min(100, Math.floor((bytes / Math.max(totalBytes, 1)) * 100));
    if (percent === told) continue;
    told = percent;
    progress(`receive disks: ${mib(bytes)} of at most ${mib(totalBytes)}`, percent);
  }
}

function missing(path: string): AppError {
  return notFound(`This host has no file ${path}, which the VM needs`, {
    path,
    hint: `copy it there first: scp ${path} root@HOST:${path}`,
  });
}

function mib(bytes: number): string {
  return `${String(Math.ceil(bytes / 1024 / 1024))} MiB`;
}
