import { AppError } from '../../../shared/errors.js';
import { outputOf, type Exec } from '../../../shared/exec.js';
import { GROUP_FIELDS, parseGroups, parseVolumes, VOLUME_FIELDS, type Volume, type VolumeGroup } from './lvm-report.js';

/** Reads the labels of all devices: one that hangs holds it up. */
const READ_MS = 30_000;
/** Writes metadata, waits for udev; a first snapshot loads a kernel module. */
const CHANGE_MS = 120_000;
const REPORT = ['--reportformat', 'json', '--units', 'b', '--nosuffix', '-o'] as const;
const ENV = { LVM_SUPPRESS_FD_WARNINGS: '1' };

/** The programs of LVM, each with its limit. */
export class LvmCommand {
  readonly #exec: Exec;

  constructor(exec: Exec) {
    this.#exec = exec;
  }

  /** None where LVM is not installed. @throws {AppError} `unavailable` */
  async groups(): Promise<readonly VolumeGroup[]> {
    const text = await this.#read('vgs', GROUP_FIELDS);
    return text === undefined ? [] : parseGroups(text);
  }

  /** None where LVM is not installed. @throws {AppError} `unavailable` */
  async volumes(): Promise<readonly Volume[]> {
    const text = await this.#read('lvs', VOLUME_FIELDS);
    return text === undefined ? [] : parseVolumes(text);
  }

  /**
   * Not by a signal: half a change of metadata is nothing to leave behind.
   *
   * @throws {AppError} `unavailable`
   */
  async change(program: 'lvcreate' | 'lvextend' | 'lvremove', ...args: readonly string[]): Promise<void> {
    const result = await this.#exec.run([program, '--yes', '--quiet', ...args], { timeoutMs: CHANGE_MS, env: ENV });
    if (result.kind === 'ok') return;
    throw new AppError('unavailable', `${program} ${args.at(-1) ?? ''} failed`, { output: outputOf(result) });
  }

  async #read(program: 'vgs' | 'lvs', fields: string): Promise<string | undefined> {
    const result = await this.#exec.run([program, ...REPORT, fields], { timeoutMs: READ_MS, env: ENV });
    if (result.kind === 'ok') return result.stdout.toString();
    if (result.kind === 'missing') return undefined;
    throw new AppError('unavailable', `${program} failed`, { output: outputOf(result) });
  }
}
