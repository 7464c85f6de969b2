import { readFile } from 'node:fs/promises';
import { release } from 'node:os';
import type { Logger } from 'pino';
import { toAppError } from '../../../shared/errors.js';
import type { Exec } from '../../../shared/exec.js';
import { VERSION } from '../../../shared/version.js';
import type { HostFacts } from '../../domain/session-message.js';
import type { XlInfo } from '../../domain/xen/xl-info.js';
import type { HostReport } from '../../ports/host-report.js';
import type { XenHost } from './xen-host.js';
import { XlCommand } from './xl-command.js';

export interface XlHostReportParts {
  readonly exec: Exec;
  readonly host: XenHost;
  readonly log: Logger;
  /** Release and content, where `host add` installed the agent; left out: the release. */
  readonly build?: string | undefined;
}

const NOTHING_KNOWN: XlInfo = { xenVersion: '', cpus: 0, memoryMib: 0, memoryFreeMib: 0, hasShadowPaging: true };

/**
 * The machine as Xen has it: its memory and CPUs, of which dom0 is but one user. Free memory changes when domains come, go
 * or change their size: it is asked anew after that, and never otherwise.
 */
export class XlHostReport implements HostReport {
  readonly #xl: XlCommand;
  readonly #log: Logger;
  readonly #agentVersion: string;
  #info: XlInfo = NOTHING_KNOWN;
  #isStale = false;
  #asking: Promise<unknown> | undefined;

  constructor({ exec, host, log, build }: XlHostReportParts) {
    this.#xl = new XlCommand(exec, host);
    this.#log = log;
    this.#agentVersion = build || VERSION;
  }

  /** One whose xl does not answer is reported all the same, so that its VMs are known to be unknown. */
  async readFacts(): Promise<HostFacts> {
    const isDone = await this.#ask();
    const { xenVersion, cpus, memoryMib, memoryFreeMib } = this.#info;
    if (!isDone) this.#isStale = true;
    const versions = { agentVersion: this.#agentVersion, nodeVersion: process.versions.node, kernel: release() };
    return { ...versions, xenVersion, cpus, memoryMib, memoryFreeMib, bootId: await readBootId() };
  }

  /** What was found last: whoever asks is not kept waiting by xl. */
  readMemoryFreeMib(): Promise<number> {
    if (this.#isStale && this.#asking === undefined) {
      this.#asking = this.#ask().finally(() => (this.#asking = undefined));
    }
    return Promise.resolve(this.#info.memoryFreeMib);
  }

  /** Domains may have changed. */
  domainsChanged(): void {
    this.#isStale = true;
  }

  async #ask(): Promise<boolean> {
    this.#isStale = false;
    try {
      this.#info = await this.#xl.info();
      return true;
    } catch (error) {
      const { message, details } = toAppError(error);
      this.#log.warn({ reason: message, details }, 'xl does not tell the memory of the host');
      return false;
    }
  }
}

async function readBootId(): Promise<string> {
  return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
}
