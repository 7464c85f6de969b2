import type { Logger } from 'pino';
import { AppError, messageOf, wrongState } from '../../shared/errors.js';
import { planCopy, type CopyPlan, type CopySettings } from '../domain/copy-plan.js';
import type { ObservedVm } from '../domain/vm.js';
import { formatXlCfg, parseXlCfg } from '../domain/xl-cfg/xl-cfg.js';
import type { CfgFolder } from '../ports/cfg-folder.js';
import type { CopyLog, CopyRecord } from '../ports/copy-log.js';
import type { DiskStore } from '../ports/disk-store.js';
import type { FormerCfgs } from '../ports/former-cfgs.js';
import type { GuestDisk } from '../ports/guest-disk.js';
import type { ReportProgress } from './order-runner.js';

export interface VmCopierParts {
  readonly cfgFolder: CfgFolder;
  readonly guestDisk: GuestDisk;
  readonly formerCfgs: FormerCfgs;
  readonly disks: DiskStore;
  readonly copies: CopyLog;
  readonly log: Logger;
}

/** Left free where images are: a dom0 whose root is full does no good to anybody. */
const RESERVE_BYTES = 256 * 1024 * 1024;

/**
 * Makes VMs that are copies of others on this host, and takes them away again: all of one, or nothing.
 *
 * Invariants:
 * - What is to be made is on record before the first byte of it is; the cfg, which makes a VM of it, comes last.
 * - A record that is not whole is undone by whoever finds it. Only what is on record is taken away.
 */
export class VmCopier {
  readonly #parts: VmCopierParts;

  constructor(parts: VmCopierParts) {
    this.#parts = parts;
  }

  /** Undoes what a death left half made. Before the first order; never throws: what cannot be undone now is tried again. */
  async recover(): Promise<void> {
    const { copies, log } = this.#parts;
    try {
      for (const record of await copies.list()) if (!record.isWhole) await this.#undo(record);
    } catch (error) {
      log.error({ err: error }, 'what was left half made could not be taken away');
    }
  }

  /**
   * Repeating it changes nothing: a copy that is there and was made here is done.
   *
   * @param source as it was observed just now
   * @param cfgPath of the new VM
   * @returns warnings, for people
   * @throws {AppError} `wrong_state` (source not stopped, no cfg), `already_exists` (cfg, disk), `invalid` (a disk that is no
   *   image file), `not_found` (a disk), `exhausted` (no room: details `needed`, `free`), `unavailable`
   */
  async copy(
    source: ObservedVm,
    cfgPath: string,
    settings: CopySettings,
    progress: ReportProgress,
    signal: AbortSignal,
  ): Promise<readonly string[]> {
    const { copies, cfgFolder } = this.#parts;
    if (source.cfgPath === undefined) throw wrongState(`${source.name} has no cfg file: it cannot be copied`);
    const former = await copies.find(cfgPath);
    if (former?.isWhole && (await this.#hasCfg(cfgPath))) return [];
    if (former) await this.#undo(former);
    if (await this.#hasCfg(cfgPath)) throw taken(cfgPath);
    const plan = planCopy(source, parseXlCfg(await cfgFolder.read(source.cfgPath)), settings);
    await this.#refuseTaken(plan);
    await this.#refuseFull(plan);
    const record = { cfgPath, cfgText: formatXlCfg(plan.cfg), disks: plan.disks.map(({ to }) => to), isWhole: false };
    await copies.put(record);
    try {
      return await this.#make(record, plan, settings.name, progress, signal);
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
    const doomed = { ...record, cfgText: await cfgFolder.read(record.cfgPath), isWhole: false };
    await copies.put(doomed);
    await this.#undo(doomed);
  }

  async #make(
    record: CopyRecord,
    plan: CopyPlan,
    name: string,
    progress: ReportProgress,
    signal: AbortSignal,
  ): Promise<readonly string[]> {
    const { disks, guestDisk, cfgFolder, copies } = this.#parts;
    for (const { from, to } of plan.disks) {
      signal.throwIfAborted();
      progress(`copy ${from} to ${to}`);
      await disks.copy(from, to, signal);
    }
    signal.throwIfAborted();
    progress('make it a machine of its own');
    const warnings = await guestDisk.renew({ name, cfgPath: record.cfgPath, cfg: plan.cfg }, signal);
    signal.throwIfAborted();
    progress('write cfg');
    await cfgFolder.add(record.cfgPath, record.cfgText);
    await copies.put({ ...record, isWhole: true });
    return warnings;
  }

  /** In reverse; the record goes last. @throws {AppError} `unavailable`: then the record stays, and it is tried again */
  async #undo({ cfgPath, cfgText, disks }: CopyRecord): Promise<void> {
    const { cfgFolder, guestDisk, formerCfgs, copies, disks: store, log } = this.#parts;
    try {
      await cfgFolder.remove(cfgPath, cfgText);
      await guestDisk.forget(cfgPath);
      // Another VM of that path must not be given this one's cfg.
      await formerCfgs.put(cfgPath, undefined);
      for (const disk of disks.toReversed()) await store.remove(disk);
      await copies.remove(cfgPath);
    } catch (error) {
      log.error({ err: error, cfgPath }, 'what was made could not be taken away');
      const hint = 'restart domherd-agent on the host: it goes on with it';
      throw new AppError('unavailable', `${cfgPath} could not be taken away: ${messageOf(error)}`, { hint }, error);
    }
  }

  async #hasCfg(cfgPath: string): Promise<boolean> {
    return (await this.#parts.cfgFolder.list()).some(({ path }) => path === cfgPath);
  }

  async #refuseTaken({ disks }: CopyPlan): Promise<void> {
    for (const { to } of disks) if ((await this.#parts.disks.sizeOf(to)) !== undefined) throw taken(to);
  }

  /** All disks of a VM go to the file system of the first: beside their sources, which are the tutorial's own. */
  async #refuseFull({ disks }: CopyPlan): Promise<void> {
    const store = this.#parts.disks;
    const [first] = disks;
    if (first === undefined) return;
    let needed = RESERVE_BYTES;
    for (const { from } of disks) {
      const size = await store.sizeOf(from);
      if (size === undefined) throw new AppError('not_found', `There is no disk ${from}`, { disk: from });
      needed += size;
    }
    const free = await store.freeAt(first.to);
    if (free >= needed) return;
    throw new AppError(
      'exhausted',
      `There is no room for ${first.to}: it needs ${mib(needed)}, ${mib(free)} are free`,
      {
        needed: String(needed),
        free: String(free),
        hint: 'remove what is not needed there, or take another host',
      },
    );
  }
}

function taken(path: string): AppError {
  return new AppError('already_exists', `There is a file ${path} already`, { path, hint: 'take another name' });
}

function mib(bytes: number): string {
  return `${String(Math.ceil(bytes / 1024 / 1024))} MiB`;
}
