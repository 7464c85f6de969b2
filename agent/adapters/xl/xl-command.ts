import { AppError, wrongState } from '../../../shared/errors.js';
import { outputOf, type Exec, type ExecResult } from '../../../shared/exec.js';
import { createFailure } from '../../domain/xen/xl-failure.js';
import { parseXlInfo, type XlInfo } from '../../domain/xen/xl-info.js';
import { parseXlList, type XlListRow } from '../../domain/xen/xl-list.js';
import type { XenHost } from './xen-host.js';

/** Half a second on a slow host; it waits for no guest. */
const READ_MS = 10_000;
/** Copies the kernel, runs the hotplug scripts of each device; 40 s on a slow host. */
const CREATE_MS = 300_000;
/** Ends the devices of the domain, and waits for those that do not answer. */
const DESTROY_MS = 60_000;
/** A hypercall. */
const PAUSE_MS = 30_000;

// Units stop in the reverse order of their start.
export const SCOPE = [
  ...['--scope', '--slice=domherd-domains.slice', '--property=Before=xendomains.service'],
  ...['--collect', '--quiet'],
] as const;

/** The verbs of xl, each with its limit. */
export class XlCommand {
  readonly #exec: Exec;
  readonly #host: XenHost;

  constructor(exec: Exec, host: XenHost) {
    this.#exec = exec;
    this.#host = host;
  }

  // Not `xl list -l`: it tells no state, and leaves out every domain that is just being made.
  /** @throws {AppError} `unavailable` if xl hangs, fails or talks nonsense */
  async list(): Promise<readonly XlListRow[]> {
    return parseXlList(await this.#read('list', '-v'));
  }

  /** @throws {AppError} as {@link list} */
  async info(): Promise<XlInfo> {
    return parseXlInfo(await this.#read('info'));
  }

  /**
   * In a scope of its own: xl leaves a process behind that handles the domain's reboots, and systemd would end it with the
   * agent. At shutdown it must outlive xendomains, which waits until what it asked to stop is cleaned up.
   *
   * @returns `cut` when the limit or the signal ended it: half a domain may be there
   * @throws {AppError} as `Toolstack.create`, but for its `timeout`
   */
  async create(name: string, cfgPath: string, signal: AbortSignal): Promise<'done' | 'timeout' | 'aborted'> {
    const { systemdRun, xl } = this.#host;
    const create = [xl, 'create', cfgPath] as const;
    const argv = systemdRun === undefined ? create : ([systemdRun, ...SCOPE, '--', ...create] as const);
    const result = await this.#exec.run(argv, { timeoutMs: CREATE_MS, signal });
    if (result.kind === 'ok') return 'done';
    if (result.kind === 'timeout' || result.kind === 'aborted') return result.kind;
    if (result.kind === 'missing') throw unavailable(result);
    throw createFailure(name, cfgPath, outputOf(result));
  }

  /** Asks the guest; xl waits for its answer for some time. @returns `false` if the guest did not answer in time */
  async ask(verb: 'shutdown' | 'reboot', domid: number, timeoutMs: number, signal: AbortSignal): Promise<boolean> {
    // -F: an HVM guest without PV drivers is asked by ACPI.
    const result = await this.#exec.run([this.#host.xl, verb, '-F', `${domid}`], { timeoutMs, signal });
    signal.throwIfAborted();
    if (result.kind === 'timeout') return false;
    if (result.kind === 'missing') throw unavailable(result);
    if (result.kind !== 'ok') throw wrongState(`xl ${verb} failed`, { output: outputOf(result) });
    return true;
  }

  /** @throws {AppError} `wrong_state` (details `output`), `timeout`, `unavailable` */
  destroy(domid: number): Promise<void> {
    return this.#act('destroy', domid, DESTROY_MS);
  }

  /** @throws {AppError} as {@link destroy} */
  pause(verb: 'pause' | 'unpause', domid: number): Promise<void> {
    return this.#act(verb, domid, PAUSE_MS);
  }

  /** @throws {AppError} as {@link destroy} */
  setMemory(domid: number, mib: number): Promise<void> {
    return this.#act('mem-set', domid, PAUSE_MS, `${mib}m`);
  }

  /** @throws {AppError} as {@link destroy} */
  setVcpus(domid: number, count: number): Promise<void> {
    return this.#act('vcpu-set', domid, PAUSE_MS, `${count}`);
  }

  async #act(verb: string, domid: number, timeoutMs: number, ...more: readonly string[]): Promise<void> {
    const result = await this.#exec.run([this.#host.xl, verb, `${domid}`, ...more], { timeoutMs });
    if (result.kind === 'ok') return;
    if (result.kind === 'missing') throw unavailable(result);
    const output = outputOf(result);
    if (result.kind !== 'timeout') throw wrongState(`xl ${verb} failed`, { output });
    throw new AppError('timeout', `xl ${verb} was not done in ${timeoutMs / 1000} s`, { output, hint: HUNG });
  }

  async #read(...args: readonly string[]): Promise<string> {
    const result = await this.#exec.run([this.#host.xl, ...args], { timeoutMs: READ_MS });
    if (result.kind !== 'ok') throw unavailable(result);
    return result.stdout.toString('latin1');
  }
}

const HUNG = 'on the host: ps -ef | grep xl; systemctl status xen; xenstore-ls';

function unavailable(result: ExecResult): AppError {
  const said = { missing: 'cannot be run', timeout: 'hangs', aborted: 'was ended', failed: 'fails', ok: 'fails' };
  const command = result.argv.slice(0, 2).join(' ');
  return new AppError('unavailable', `${command} ${said[result.kind]}`, { output: outputOf(result), hint: HUNG });
}
