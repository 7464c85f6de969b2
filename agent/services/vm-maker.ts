import type { Logger } from 'pino';
import { AppError, invalid, messageOf, notFound, wrongState } from '../../shared/errors.js';
import { neededBytes, type DiskSize, type KeptAs, type NewDisk, type StoredDisk } from '../domain/new-disk.js';
import { disksToSend } from '../domain/received-vm.js';
import type { ObservedVm } from '../domain/vm.js';
import { grownDisk, renewSettingsOf, type VmPlan } from '../domain/vm-plan.js';
import { listDisks, type Disk } from '../domain/xl-cfg/disk.js';
import { formatXlCfg, parseXlCfg } from '../domain/xl-cfg/xl-cfg.js';
import type { Autostart } from '../ports/autostart.js';
import type { CfgFolder } from '../ports/cfg-folder.js';
import type { CopyLog, CopyRecord } from '../ports/copy-log.js';
import type { DiskStore, Room } from '../ports/disk-store.js';
import type { FormerCfgs } from '../ports/former-cfgs.js';
import type { GuestDisk } from '../ports/guest-disk.js';
import type { ReportProgress } from './order-runner.js';

export interface VmMakerParts {
  readonly cfgFolder: CfgFolder;
  readonly guestDisk: GuestDisk;
  readonly formerCfgs: FormerCfgs;
  readonly disks: DiskStore;
  readonly copies: CopyLog;
  readonly autostart: Pick<Autostart, 'set'>;
  readonly log: Logger;
}

/**
 * Makes VMs of a plan, and takes away what it made: all of one, or nothing.
 *
 * Invariants:
 * - What is to be made is on record before the first byte of it is; the cfg, which makes a VM of it, comes last.
 * - A record that is not whole is undone by whoever finds it. Only what is on record is taken away.
 */
export class VmMaker {
  readonly #parts: VmMakerParts;

  constructor(parts: VmMakerParts) {
    this.#parts = parts;
  }

  /** Undoes what a death left half made. Before the first order; never throws: what cannot be undone now is tried again. */
  async recover(): Promise<void> {
    const { copies, log } = this.#parts;
    try {
      for (const record of await copies.list()) {
        const left = record.isWhole ? [] : await this.#undo(record);
        if (left.length > 0) log.warn({ cfgPath: record.cfgPath, left }, 'disks stay that were not made here');
      }
    } catch (error) {
      log.error({ err: error }, 'what was left half made could not be taken away');
    }
  }

  /**
   * Repeating it changes nothing: a VM that is there and was made here is done, and no plan is asked for.
   *
   * @param cfgPath of the new VM
   * @returns warnings, for people
   * @throws {AppError} what `planOf` does; `already_exists` (cfg, disk), `not_found` (a disk), `invalid` (a disk that can be no
   *   source, or would become smaller), `exhausted` (no room: details `needed`, `free`), `unavailable`
   */
  async make(
    cfgPath: string,
    planOf: () => Promise<VmPlan>,
    progress: ReportProgress,
    signal: AbortSignal,
  ): Promise<readonly string[]> {
    const { copies } = this.#parts;
    const former = await copies.find(cfgPath);
    if (former?.isWhole && (await this.#hasCfg(cfgPath))) return [];
    if (former) await this.#undo(former);
    if (await this.#hasCfg(cfgPath)) throw taken('file', cfgPath, 'take another name');
    const plan = await planOf();
    await this.#refuseTaken(plan);
    await this.#refuseFull(plan);
    const record = {
      cfgPath,
      cfgText: formatXlCfg(plan.cfg),
      disks: plan.disks.map(({ place }) => place),
      isWhole: false,
    };
    await copies.put(record);
    try {
      return await this.#makeAll(record, plan, progress, signal);
    } catch (error) {
      await this.#undo(record);
      throw error;
    }
  }

  /**
   * Takes a stopped VM away that was made here: cfg and disks. A death in the middle is gone on with.
   *
   * @throws {AppError} `wrong_state` (not stopped, or not made here), `unavailable`
   */
  async remove({ name, state, cfgPath }: ObservedVm): Promise<void> {
    const { copies, cfgFolder } = this.#parts;
    if (state !== 'stopped') {
      const hint = `domherd vm shutdown ${name}`;
      throw wrongState(`${name} is ${state}: it is deleted while it is stopped`, { state, hint });
    }
    const record = cfgPath === undefined ? undefined : await copies.find(cfgPath);
    if (record === undefined) {
      throw wrongState(`${name} was not made by domherd, which takes away only what it made`, {
        hint: `by hand, on its host: rm ${cfgPath ?? 'its cfg'}, and the disks that it names`,
      });
    }
    await this.#refuseNeeded(
      name,
      record.disks.map(({ path }) => path),
      ['qcow2', 'lvm-snapshot'],
      'deleted',
    );
    const doomed = { ...record, cfgText: await cfgFolder.read(record.cfgPath), isWhole: false };
    await copies.put(doomed);
    await this.#undo(doomed);
  }

  /**
   * Takes a stopped VM away that another host has now, whoever made it: cfg and the disks that it writes. A death in the middle
   * is gone on with.
   *
   * @returns warnings, for people: devices stay that were not made here
   * @throws {AppError} `wrong_state` (not stopped, others need its disks), `invalid` (a disk that cannot have gone), `unavailable`
   */
  async leave(vm: ObservedVm): Promise<readonly string[]> {
    const { copies, cfgFolder } = this.#parts;
    if (vm.cfgPath === undefined) throw wrongState(`${vm.name} has no cfg file: it is not what another host has`);
    const cfgText = await cfgFolder.read(vm.cfgPath);
    await this.refuseShared(vm);
    const disks = disksToSend(vm, parseXlCfg(cfgText)).map(({ path }): StoredDisk => ({ path, storage: 'copy' }));
    const doomed = { cfgPath: vm.cfgPath, cfgText, disks, isWhole: false };
    await copies.put(doomed);
    const left = await this.#undo(doomed);
    return left.map((path) => `${path} stays: it was not made by domherd, which takes away only what it made`);
  }

  /**
   * Of a VM that is to go to another host.
   *
   * @throws {AppError} `wrong_state` if it is not stopped, or other VMs do not live without the disks that go with it
   */
  async refuseShared(vm: ObservedVm): Promise<void> {
    if (vm.cfgPath === undefined) return;
    const cfg = parseXlCfg(await this.#parts.cfgFolder.read(vm.cfgPath));
    const paths = disksToSend(vm, cfg).map(({ path }) => path);
    await this.#refuseNeeded(vm.name, paths, ['qcow2', 'lvm-snapshot'], 'taken to another host');
    await this.#refuseNamed(vm.name, vm.cfgPath, new Set(paths));
  }

  /** VMs that somebody made by hand are in no record. */
  async #refuseNamed(name: string, cfgPath: string, paths: ReadonlySet<string>): Promise<void> {
    for (const file of await this.#parts.cfgFolder.list()) {
      if (file.path === cfgPath || file.kind !== 'text') continue;
      for (const disk of disksIn(file.text)) {
        if (!paths.has(disk.target) && !paths.has((await this.#backingOf(disk)) ?? '')) continue;
        throw wrongState(`${name} cannot be taken to another host: ${file.path} needs its disks`, {
          hint: `if nobody needs it, take ${disk.target} out of ${file.path}, or that file away, on the host`,
        });
      }
    }
  }

  /** @returns `undefined`: it has none, or is not there, or no image. @throws {AppError} `unavailable` */
  async #backingOf({ target, format }: Disk): Promise<string | undefined> {
    if (format !== 'qcow2' || !target.startsWith('/')) return undefined;
    try {
      return (await this.#parts.disks.find(target, 'qcow2'))?.origin;
    } catch (error) {
      if (error instanceof AppError && error.code === 'invalid') return undefined;
      throw error;
    }
  }

  /** As {@link leave}, of a VM whose disks the other host sees as well: only what it has of files here goes. */
  async forsake({ cfgPath }: ObservedVm): Promise<void> {
    if (cfgPath === undefined) return;
    const doomed = { cfgPath, cfgText: await this.#parts.cfgFolder.read(cfgPath), disks: [], isWhole: false };
    await this.#parts.copies.put(doomed);
    await this.#undo(doomed);
  }

  /**
   * Whoever writes the backing file of an overlay breaks the overlay. A snapshot's origin may be written: the snapshot keeps
   * what was.
   *
   * @param verb what is to be done to the VM, for the message
   * @throws {AppError} `wrong_state` if VMs that were made here have overlays of its disks
   */
  async refuseBacking({ name, cfgPath }: ObservedVm, verb: string): Promise<void> {
    if (cfgPath === undefined) return;
    const records = await this.#parts.copies.list();
    if (!records.some(({ disks }) => disks.some(({ storage }) => storage === 'qcow2'))) return;
    const disks = listDisks(parseXlCfg(await this.#parts.cfgFolder.read(cfgPath)));
    await this.#refuseNeeded(
      name,
      disks.map(({ target }) => target),
      ['qcow2'],
      verb,
    );
  }

  /** @throws {AppError} `wrong_state` if others that are kept so do not live without those disks */
  async #refuseNeeded(
    name: string,
    paths: readonly string[],
    storages: readonly KeptAs[],
    verb: string,
  ): Promise<void> {
    const records = await this.#parts.copies.list();
    const needs = ({ disks }: CopyRecord): boolean =>
      disks.some(({ storage, origin }) => storages.includes(storage) && origin !== undefined && paths.includes(origin));
    const users = records.filter(needs).map(({ cfgPath }) => nameOf(cfgPath));
    if (users.length === 0) return;
    throw wrongState(`${name} cannot be ${verb}: ${users.join(', ')} share its disks`, {
      users: users.join(','),
      hint: `domherd vm delete ${users.join(' ')}`,
    });
  }

  async #makeAll(
    record: CopyRecord,
    plan: VmPlan,
    progress: ReportProgress,
    signal: AbortSignal,
  ): Promise<readonly string[]> {
    const { disks, cfgFolder, copies } = this.#parts;
    for (const disk of plan.disks) {
      signal.throwIfAborted();
      progress(textOf(disk));
      await disks.make(disk, signal);
    }
    signal.throwIfAborted();
    const warnings = await this.#finishGuest(record, plan, progress, signal);
    signal.throwIfAborted();
    progress('write cfg');
    await cfgFolder.add(record.cfgPath, record.cfgText);
    await copies.put({ ...record, isWhole: true });
    return warnings;
  }

  /** All that is done inside the disks before there is a VM. @returns warnings, for people */
  async #finishGuest(
    { cfgPath }: CopyRecord,
    plan: VmPlan,
    progress: ReportProgress,
    signal: AbortSignal,
  ): Promise<readonly string[]> {
    const { name, cfg, isRenewed } = plan;
    if (!isRenewed) return [];
    const { guestDisk } = this.#parts;
    const guest = { name, cfgPath, cfg };
    progress('make it a machine of its own');
    const warnings = await guestDisk.renew(guest, renewSettingsOf(plan), signal);
    const grown = grownDisk(plan);
    if (grown === undefined) return warnings;
    if (!grown.isRoot)
      return [...warnings, `${grown.path} is longer now, and what is in it is not: the root is not on it`];
    signal.throwIfAborted();
    progress('grow its file system');
    await guestDisk.grow(guest, signal);
    return warnings;
  }

  /**
   * In reverse; the record goes last.
   *
   * @returns paths of what stays
   * @throws {AppError} `unavailable`: then the record stays, and it is tried again
   */
  async #undo({ cfgPath, cfgText, disks }: CopyRecord): Promise<readonly string[]> {
    const { autostart, cfgFolder, guestDisk, formerCfgs, copies, disks: store, log } = this.#parts;
    try {
      // An entry that leads nowhere would make xendomains fail for all.
      await autostart.set(cfgPath, false);
      await cfgFolder.remove(cfgPath, cfgText);
      await guestDisk.forget(cfgPath);
      // Another VM of that path must not be given this one's cfg.
      await formerCfgs.put(cfgPath, undefined);
      const left: string[] = [];
      for (const disk of disks.toReversed()) if (!(await store.remove(disk))) left.unshift(disk.path);
      await copies.remove(cfgPath);
      return left;
    } catch (error) {
      log.error({ err: error, cfgPath }, 'what was made could not be taken away');
      const hint = 'restart domherd-agent on the host: it goes on with it';
      throw new AppError('unavailable', `${cfgPath} could not be taken away: ${messageOf(error)}`, { hint }, error);
    }
  }

  async #hasCfg(cfgPath: string): Promise<boolean> {
    return (await this.#parts.cfgFolder.list()).some(({ path }) => path === cfgPath);
  }

  async #refuseTaken({ disks, isMoved = false }: VmPlan): Promise<void> {
    const hint = isMoved ? 'move it out of the way, or take another host' : 'take another name';
    for (const { place } of disks) {
      if ((await this.#parts.disks.find(place.path)) !== undefined) throw taken('disk', place.path, hint);
    }
  }

  async #refuseFull({ disks }: VmPlan): Promise<void> {
    const needs = new Map<string, { readonly room: Room; readonly path: string; readonly bytes: number }>();
    for (const disk of disks) {
      const found = await this.#sourceOf(disk);
      const room = await this.#parts.disks.roomFor(disk.place);
      const { bytes, path } = needs.get(room.store) ?? { bytes: 0, path: disk.place.path };
      needs.set(room.store, { room, path, bytes: bytes + neededBytes(disk, found) });
    }
    for (const { room, path, bytes } of needs.values()) {
      if (room.freeBytes < bytes) throw full(path, bytes, room.freeBytes);
    }
  }

  /** @throws {AppError} `not_found`; `invalid` if the disk would be shorter than what is to be in it */
  async #sourceOf({ source, place, sizeBytes }: NewDisk): Promise<DiskSize | undefined> {
    if (source.kind === 'received') return source;
    if (!('path' in source)) return undefined;
    const disk = source.path;
    const found = await this.#parts.disks.find(disk, source.format);
    if (found === undefined) throw notFound(`There is no disk ${disk}`, { disk });
    if (sizeBytes !== undefined && sizeBytes < found.sizeBytes) {
      throw invalid(`${place.path} cannot have ${mib(sizeBytes)}: ${disk} has ${mib(found.sizeBytes)}`, {
        disk,
        hint: 'a disk can become larger, not smaller',
      });
    }
    return found;
  }
}

function textOf({ source, place, reason }: NewDisk): string {
  const why = reason === undefined ? '' : ` (${place.storage}: ${reason})`;
  switch (source.kind) {
    case 'copy':
      return `copy ${source.path} to ${place.path}${why}`;
    case 'received':
      return `receive ${source.path} as ${place.path}${why}`;
    case 'image':
      return `make ${place.path} of ${source.path}${why}`;
    case 'blank':
      return `make ${place.path}, ${mib(source.bytes)}${why}`;
    case 'swap':
      return `make ${place.path}, ${mib(source.bytes)} of swap${why}`;
  }
}

/** Of a VM that was made here: its cfg is named after it. */
function nameOf(cfgPath: string): string {
  return cfgPath.slice(cfgPath.lastIndexOf('/') + 1).replace(/\.cfg$/, '');
}

function taken(what: string, path: string, hint: string): AppError {
  return new AppError('already_exists', `There is a ${what} ${path} already`, { path, hint });
}

function full(path: string, needed: number, free: number): AppError {
  return new AppError('exhausted', `There is no room for ${path}: it needs ${mib(needed)}, ${mib(free)} are free`, {
    needed: String(needed),
    free: String(free),
    hint: 'remove what is not needed there, or take another host',
  });
}

/** None of a cfg that cannot be understood, which others tell of. */
function disksIn(cfgText: string): readonly Disk[] {
  try {
    return listDisks(parseXlCfg(cfgText));
  } catch {
    return [];
  }
}

function mib(bytes: number): string {
  return `${String(Math.ceil(bytes / 1024 / 1024))} MiB`;
}
