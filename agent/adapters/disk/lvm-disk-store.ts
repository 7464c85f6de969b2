// Invariants:
// - Every volume that is made here has the tag `domherd` from its first moment, and none without it is taken away.
// - A guest never reads what was on the volume before: what its source does not fill is zeroed, or reads as zero.
import { stat } from 'node:fs/promises';
import { AppError } from '../../../shared/errors.js';
import type { Exec } from '../../../shared/exec.js';
import type { DiskSize, DiskSource, NewDisk, StoredDisk } from '../../domain/new-disk.js';
import type { DiskKind, GroupRoom } from '../../domain/storage-choice.js';
import type { Room } from '../../ports/disk-store.js';
import { fileError } from './atomic-file.js';
import { deviceBytes } from './block-device.js';
import { runProgram } from './disk-program.js';
import { LvmCommand } from './lvm-command.js';
import type { Volume } from './lvm-report.js';
import { writePieces } from './write-pieces.js';

const TAG = 'domherd';
/** The longest that an order may take. */
const COPY_MS = 3_600_000;
const MKSWAP_MS = 60_000;
const SECTOR_BYTES = 512;
/** Of a snapshot, in percent of its origin: all of it and the table of blocks; LVM takes no more than it can ever use. */
const SNAPSHOT_PERCENT = 110;

/** Disks that are logical volumes. */
export class LvmDiskStore {
  readonly #exec: Exec;
  readonly #lvm: LvmCommand;

  constructor(exec: Exec) {
    this.#exec = exec;
    this.#lvm = new LvmCommand(exec);
  }

  /** @returns `undefined`: there is no such volume. @throws {AppError} `unavailable` */
  async find(path: string): Promise<DiskSize | undefined> {
    const found = (await this.#lvm.volumes()).find(({ paths }) => paths.includes(path));
    if (found === undefined) return undefined;
    const { sizeBytes, changeBytes = sizeBytes, dataPercent = 100, group, origin, type } = found;
    const usedBytes = Math.ceil((changeBytes * dataPercent) / 100);
    return {
      ...{ sizeBytes, usedBytes },
      ...(origin !== undefined && { origin: `/dev/${group}/${origin}` }),
      // All that its origin has shows through it.
      ...(type === 'snapshot' && { contentBytes: sizeBytes }),
    };
  }

  /** @throws {AppError} `unavailable` */
  async kindOf(path: string): Promise<Extract<DiskKind, { kind: 'volume' }> | undefined> {
    const found = (await this.#lvm.volumes()).find(({ paths }) => paths.includes(path));
    return found && { kind: 'volume', group: found.group, name: found.name, pool: found.pool };
  }

  /** @throws {AppError} `unavailable` */
  async groups(): Promise<readonly GroupRoom[]> {
    const volumes = await this.#lvm.volumes();
    return (await this.#lvm.groups()).map(({ name, freeBytes }) => {
      const pools = volumes.filter(({ group, type }) => group === name && type === 'thin-pool');
      return { name, freeBytes, pools: pools.map((pool) => ({ name: pool.name, freeBytes: freeInPool(pool) })) };
    });
  }

  /** @throws {AppError} `unavailable` */
  async roomFor({ path, pool }: StoredDisk): Promise<Room> {
    const { group } = namesOf(path);
    const found = (await this.groups()).find(({ name }) => name === group);
    if (pool === undefined) return { store: group, freeBytes: found?.freeBytes ?? 0 };
    const inPool = found?.pools.find(({ name }) => `${group}/${name}` === pool);
    return { store: pool, freeBytes: inPool?.freeBytes ?? 0 };
  }

  /** @throws {AppError} as `DiskStore.make` */
  async make({ source, place, sizeBytes = 0 }: NewDisk, signal: AbortSignal): Promise<void> {
    const { group, name } = namesOf(place.path);
    const tagged = ['--addtag', TAG, '--name', name];
    const volumes = await this.#lvm.volumes();
    if (volumes.some(({ paths }) => paths.includes(place.path))) {
      throw new AppError('already_exists', `There is a volume ${place.path} already`, { disk: place.path });
    }
    // What comes from another host may have the path of a volume of this one.
    const isHere = 'path' in source && source.kind !== 'received';
    const from = isHere ? volumes.find(({ paths }) => paths.includes(source.path)) : undefined;
    if (from !== undefined && place.storage === 'lvm-snapshot') {
      const size = ['--extents', `${SNAPSHOT_PERCENT}%ORIGIN`];
      return this.#lvm.change('lvcreate', '--snapshot', ...tagged, ...size, `${from.group}/${from.name}`);
    }
    if (from?.pool !== undefined && `${from.group}/${from.pool}` === place.pool) {
      const active = ['--setactivationskip', 'n'];
      await this.#lvm.change('lvcreate', '--snapshot', ...tagged, ...active, `${from.group}/${from.name}`);
      if (sizeBytes > from.sizeBytes) await this.#lvm.change('lvextend', '--size', `${sizeBytes}b`, place.path);
      return;
    }
    const length = 'bytes' in source ? source.bytes : await this.#lengthOf(source, from, signal);
    const size = `${Math.max(length, sizeBytes)}b`;
    if (place.pool !== undefined) {
      const pool = place.pool.slice(group.length + 1);
      await this.#lvm.change('lvcreate', ...tagged, '--virtualsize', size, '--thinpool', pool, group);
    } else await this.#lvm.change('lvcreate', ...tagged, '--wipesignatures', 'y', '--size', size, group);
    await this.#fill(place, source, length, signal);
  }

  /** Its snapshots would go with it. @returns whether it is gone. @throws {AppError} `unavailable` */
  async remove({ path }: StoredDisk): Promise<boolean> {
    const volumes = await this.#lvm.volumes();
    const found = volumes.find(({ paths }) => paths.includes(path));
    if (found === undefined) return (await deviceBytes(path)) === undefined;
    if (!found.tags.includes(TAG)) return false;
    const { group, name } = found;
    const snapshot = volumes.find((one) => one.type === 'snapshot' && one.group === group && one.origin === name);
    if (snapshot !== undefined) {
      throw new AppError('unavailable', `${path} has the snapshot ${group}/${snapshot.name}`, { disk: path });
    }
    await this.#lvm.change('lvremove', `${group}/${name}`);
    return true;
  }

  async #fill({ path, pool }: StoredDisk, source: DiskSource, length: number, signal: AbortSignal): Promise<void> {
    const isZero = pool !== undefined;
    const sectors = Math.ceil(length / SECTOR_BYTES) * SECTOR_BYTES;
    switch (source.kind) {
      case 'copy':
      case 'image': {
        if (source.format === 'qcow2') {
          const options = ['-f', 'qcow2', '-O', 'raw', '-n', ...(isZero ? ['--target-is-zero'] : [])];
          await this.#run(['qemu-img', 'convert', ...options, source.path, path], COPY_MS, signal);
        } else {
          const conv = `conv=nocreat,fsync${isZero ? ',sparse' : ''}`;
          const dd = [
            'dd',
            `if=${source.path}`,
            `of=${path}`,
            'bs=4M',
            'iflag=fullblock',
            conv,
            'status=none',
          ] as const;
          await this.#run(dd, COPY_MS, signal);
        }
        if (!isZero) await this.#zero(path, sectors, signal);
        return;
      }
      case 'received':
        if (!isZero) await this.#zero(path, 0, signal);
        return this.#receive(path, source, signal);
      case 'blank':
      case 'swap':
        if (!isZero) await this.#zero(path, 0, signal);
        if (source.kind === 'swap') await this.#run(['mkswap', path], MKSWAP_MS, signal);
    }
  }

  async #receive(
    path: string,
    { pieces }: Extract<DiskSource, { kind: 'received' }>,
    signal: AbortSignal,
  ): Promise<void> {
    try {
      await writePieces(path, pieces, signal);
    } catch (error) {
      throw error instanceof AppError ? error : fileError(`The disk ${path} cannot be written`, error);
    }
  }

  /** From there to its end. */
  async #zero(path: string, offset: number, signal: AbortSignal): Promise<void> {
    const size = (await this.find(path))?.sizeBytes ?? 0;
    if (offset < size) await this.#run(['blkdiscard', '--zeroout', '--offset', `${offset}`, path], COPY_MS, signal);
  }

  /** Of what the source puts into a raw disk. */
  async #lengthOf(
    source: Extract<DiskSource, { path: string }>,
    from: Volume | undefined,
    signal: AbortSignal,
  ): Promise<number> {
    if (source.kind === 'received') return source.sizeBytes;
    if (from !== undefined) return from.sizeBytes;
    if (source.format === 'raw') return (await stat(source.path)).size;
    const info = await this.#run(['qemu-img', 'info', '-f', 'qcow2', '--output=json', source.path], MKSWAP_MS, signal);
    return Number(/"virtual-size": *(\d+)/.exec(info)?.[1] ?? 0);
  }

  #run(command: readonly [string, ...string[]], timeoutMs: number, signal: AbortSignal): Promise<string> {
    return runProgram(this.#exec, command, { timeoutMs, signal });
  }
}

function freeInPool({ sizeBytes, dataPercent = 0 }: Volume): number {
  return Math.floor((sizeBytes * (100 - dataPercent)) / 100);
}

function namesOf(path: string): { readonly group: string; readonly name: string } {
  const [, , group = '', name = ''] = path.split('/');
  return { group, name };
}
