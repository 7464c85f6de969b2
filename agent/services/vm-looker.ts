import { AppError, messageOf } from '../../shared/errors.js';
import { readSettings, type LookedDisk, type VmLook } from '../domain/vm-look.js';
import type { ObservedVm } from '../domain/vm.js';
import { listDisks, type Disk } from '../domain/xl-cfg/disk.js';
import type { XlCfg } from '../domain/xl-cfg/syntax.js';
import { parseXlCfg } from '../domain/xl-cfg/xl-cfg.js';
import type { CfgFolder } from '../ports/cfg-folder.js';
import type { Clock } from '../ports/clock.js';
import type { Consoles } from '../ports/consoles.js';
import type { CopyLog } from '../ports/copy-log.js';
import type { DiskStore } from '../ports/disk-store.js';

export interface VmLookerParts {
  readonly cfgFolder: Pick<CfgFolder, 'read'>;
  readonly disks: Pick<DiskStore, 'find'>;
  readonly copies: Pick<CopyLog, 'find'>;
  readonly consoles: Pick<Consoles, 'openLog'>;
  readonly clock: Clock;
}

const TAIL_LINES = 10;
/** A guest may write lines without end. */
const MAX_TAIL_BYTES = 16 * 1024;
/** LVM waits for devices that hang, and whoever asks does not: what the others say is told. */
const PART_MS = 3_000;

/** Looks at one VM and changes nothing. What cannot be looked at is told, and holds nothing else up. */
export class VmLooker {
  readonly #parts: VmLookerParts;

  constructor(parts: VmLookerParts) {
    this.#parts = parts;
  }

  async look(vm: ObservedVm, signal: AbortSignal): Promise<VmLook> {
    const notKnown: string[] = [];
    const part = <T>(what: string, none: T, work: Promise<T>): Promise<T> =>
      this.#limited(work).catch((error: unknown) => {
        notKnown.push(`${what}: ${reasonOf(error)}`);
        return none;
      });
    const cfg = await part('cfg', undefined, this.#readCfg(vm));
    const [disks, consoleTail] = await Promise.all([
      part('disks', [], this.#readDisks(vm, cfg)),
      part('console', new Uint8Array(), this.#readTail(vm.name, signal)),
    ]);
    return { cfg: cfg === undefined ? [] : readSettings(cfg), disks, consoleTail, notKnown };
  }

  async #readCfg({ cfgPath }: ObservedVm): Promise<XlCfg> {
    if (cfgPath === undefined) throw new AppError('wrong_state', 'the domain was made by hand, without one');
    return parseXlCfg(await this.#parts.cfgFolder.read(cfgPath));
  }

  async #readDisks({ cfgPath }: ObservedVm, cfg: XlCfg | undefined): Promise<readonly LookedDisk[]> {
    if (cfg === undefined || cfgPath === undefined) return [];
    const made = (await this.#parts.copies.find(cfgPath))?.disks ?? [];
    return Promise.all(
      listDisks(cfg).map(async (disk): Promise<LookedDisk> => {
        const record = made.find(({ path }) => path === disk.target);
        const found = await this.#limited(this.#findDisk(disk)).catch((error: unknown) => ({
          problem: reasonOf(error),
        }));
        return {
          ...{ vdev: disk.vdev, target: disk.target, format: disk.format, isReadOnly: disk.access === 'r' },
          ...{ sizeBytes: 0, usedBytes: 0, origin: record?.origin, storage: record?.storage, problem: undefined },
          ...found,
        };
      }),
    );
  }

  async #findDisk({ target, format, script }: Disk): Promise<Partial<LookedDisk>> {
    if (target === '') return {};
    if (script !== undefined) return { problem: `its hotplug script ${script} alone knows` };
    const isKnown = format === 'raw' || format === 'qcow2';
    const found = await this.#parts.disks.find(target, format === 'qcow2' ? format : 'raw');
    if (found === undefined) {
      return { problem: target.startsWith('/dev/') ? 'it is not there, or no logical volume' : 'it is not there' };
    }
    // The length of such a file is not what its guest sees.
    return isKnown ? found : { usedBytes: found.usedBytes };
  }

  async #readTail(name: string, signal: AbortSignal): Promise<Uint8Array> {
    const pieces: Uint8Array[] = [];
    for await (const piece of await this.#parts.consoles.openLog(
      name,
      { lines: TAIL_LINES, isFollowed: false },
      signal,
    )) {
      pieces.push(piece);
    }
    return Buffer.concat(pieces).subarray(-MAX_TAIL_BYTES);
  }

  async #limited<T>(work: Promise<T>): Promise<T> {
    let takeBack = (): void => undefined;
    const late = new Promise<never>((_, reject) => {
      const error = new AppError('timeout', `the host did not tell in ${PART_MS / 1000} s`);
      takeBack = this.#parts.clock.schedule(PART_MS, () => reject(error));
    });
    return Promise.race([work, late]).finally(() => takeBack());
  }
}

function reasonOf(error: unknown): string {
  const hint = error instanceof AppError ? error.details['hint'] : undefined;
  return hint === undefined ? messageOf(error) : `${messageOf(error)} (${hint})`;
}
