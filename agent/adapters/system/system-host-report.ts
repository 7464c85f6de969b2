import { readFile } from 'node:fs/promises';
import { cpu } from 'systeminformation/lib/cpu.js';
import { mem } from 'systeminformation/lib/memory.js';
import { osInfo } from 'systeminformation/lib/osinfo.js';
import { VERSION } from '../../../shared/version.js';
import type { HostFacts } from '../../domain/session-message.js';
import type { HostReport } from '../../ports/host-report.js';

const BYTES_PER_MIB = 1024 * 1024;

/** The machine that the process runs on. What cannot change until it reboots is asked once. */
export class SystemHostReport implements HostReport {
  readonly #version: string;
  #fixed: Promise<Omit<HostFacts, 'memoryFreeMib'>> | undefined;

  /** @param build release and content, where `host add` installed the agent; left out: the release */
  constructor(build?: string) {
    this.#version = build || VERSION;
  }

  async readFacts(): Promise<HostFacts> {
    this.#fixed ??= readFixedFacts(this.#version);
    return { ...(await this.#fixed), memoryFreeMib: await this.readMemoryFreeMib() };
  }

  async readMemoryFreeMib(): Promise<number> {
    return Math.floor((await mem()).available / BYTES_PER_MIB);
  }
}

async function readFixedFacts(agentVersion: string): Promise<Omit<HostFacts, 'memoryFreeMib'>> {
  const [{ cores }, { total }, { kernel }, bootId] = await Promise.all([cpu(), mem(), osInfo(), readBootId()]);
  const versions = { agentVersion, nodeVersion: process.versions.node, kernel, xenVersion: '' };
  return { ...versions, cpus: cores, memoryMib: Math.floor(total / BYTES_PER_MIB), bootId };
}

async function readBootId(): Promise<string> {
  return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
}
