import type { Logger } from 'pino';
import { messageOf } from '../../shared/errors.js';
import type { HostStore } from '../../shared/domain/host-store.js';
import type { OrderAction } from '../domain/order.js';
import { listDisks } from '../domain/xl-cfg/disk.js';
import { parseXlCfg } from '../domain/xl-cfg/xl-cfg.js';
import type { CfgFile, CfgFolder } from '../ports/cfg-folder.js';
import type { DiskOfVm, HostStores } from '../ports/host-stores.js';
import type { CarryOut } from './order-runner.js';

/** What makes no disk and takes none away. */
const LEAVE_DISKS: ReadonlySet<OrderAction['kind']> = new Set([
  ...(['configure', 'restoreFiles', 'start', 'shutdown', 'destroy', 'reboot', 'pause', 'unpause', 'set'] as const),
  ...(['setAutostart', 'rename', 'openConsole', 'look', 'readStores'] as const),
]);

/** What the disks of this host's VMs are kept in. */
export class StoreWatch {
  readonly #cfgFolder: CfgFolder;
  readonly #stores: HostStores;
  readonly #log: Logger;
  readonly #disks = new WeakMap<CfgFile, readonly DiskOfVm[]>();
  #isStale = true;

  constructor({ cfgFolder, stores, log }: { cfgFolder: CfgFolder; stores: HostStores; log: Logger }) {
    this.#cfgFolder = cfgFolder;
    this.#stores = stores;
    this.#log = log;
  }

  /** Whatever an order made or took away is seen at the next look; an order to look is answered here. */
  noting(carryOut: CarryOut): CarryOut {
    return async (order, progress, signal) => {
      if (order.action.kind === 'readStores') {
        this.markStale();
        return { vm: undefined, warnings: [], stores: await this.read() };
      }
      try {
        return await carryOut(order, progress, signal);
      } finally {
        if (!LEAVE_DISKS.has(order.action.kind)) this.markStale();
      }
    };
  }

  /** Volumes may have come or gone: they are asked for anew at the next look. */
  markStale(): void {
    this.#isStale = true;
  }

  /** `undefined`: they cannot be read, which is no reason to tell nothing of the VMs. */
  async read(): Promise<readonly HostStore[] | undefined> {
    const isFresh = this.#isStale;
    this.#isStale = false;
    try {
      const disks = (await this.#cfgFolder.survey()).flatMap((file) => this.#disksOf(file));
      return await this.#stores.readStores(disks, isFresh);
    } catch (error) {
      this.#log.warn({ reason: messageOf(error) }, 'stores not read');
      return undefined;
    }
  }

  #disksOf(file: CfgFile): readonly DiskOfVm[] {
    const known = this.#disks.get(file);
    if (known !== undefined) return known;
    const disks = disksOf(file);
    this.#disks.set(file, disks);
    return disks;
  }
}

/** Those that the VM may write; none of a cfg that xl would not take. */
function disksOf(file: CfgFile): readonly DiskOfVm[] {
  if (file.kind === 'unreadable') return [];
  try {
    return listDisks(parseXlCfg(file.text)).flatMap(({ target, access, isCdrom, script, format }) =>
      access === 'w' && !isCdrom && script === undefined && (format === 'raw' || format === 'qcow2')
        ? [{ vmKey: file.path, path: target, format }]
        : [],
    );
  } catch {
    return [];
  }
}
