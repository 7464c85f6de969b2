import { createHash, randomUUID } from 'node:crypto';
import { AppError, invalid, wrongState } from '../../../shared/errors.js';
import type { Resize } from '../../domain/set-plan.js';
import type { Domain, DomainLimits, VmMetrics } from '../../domain/vm.js';
import { listDisks } from '../../domain/xl-cfg/disk.js';
import type { XlCfg } from '../../domain/xl-cfg/syntax.js';
import { listVifs } from '../../domain/xl-cfg/vif.js';
import { cfgName, getNumber, getString, parseXlCfg } from '../../domain/xl-cfg/xl-cfg.js';
import type { CfgFolder } from '../../ports/cfg-folder.js';
import type { DomainSample, Toolstack } from '../../ports/toolstack.js';
import { sleep } from '../../services/sleep.js';
import type { SimDomain, SimWorld } from './sim-world.js';

/** Of the boot: a guest powers off faster than it comes up. */
const STOP_SHARE = 1 / 3;

/** A toolstack without Xen: domains that boot, count and stop. Labelled wherever it is shown. */
export class SimToolstack implements Toolstack {
  readonly isSimulated = true;
  readonly #world: SimWorld;
  readonly #cfgFolder: CfgFolder;

  constructor(world: SimWorld, cfgFolder: CfgFolder) {
    this.#world = world;
    this.#cfgFolder = cfgFolder;
  }

  listDomains(): Promise<readonly Domain[]> {
    const describe = (domain: SimDomain): Domain => {
      const { name, uuid, memoryMib, vcpus } = domain;
      return { name, uuid, memoryMib, vcpus, state: this.#world.stateOf(domain) };
    };
    return Promise.resolve(this.#world.domains().map(describe));
  }

  watch(onChange: () => void): () => void {
    return this.#world.onChange(onChange);
  }

  domidOf(name: string): Promise<number> {
    const domain = this.#find(name);
    if (domain === undefined) return Promise.reject(wrongState(`There is no domain ${name}`));
    return Promise.resolve(domain.domid);
  }

  async create(cfgPath: string, signal: AbortSignal): Promise<void> {
    const described = describeNew(parseXlCfg(await this.#cfgFolder.read(cfgPath)), cfgPath, this.#world.clock.nowMs());
    signal.throwIfAborted();
    const { name } = described;
    this.#world.failOnRequest('start', name);
    if (this.#find(name) !== undefined)
      throw new AppError('already_exists', `A domain ${name} exists already`, { name });
    await this.#world.putDomain({ ...described, domid: this.#world.nextDomid() });
  }

  async shutdown(name: string, timeoutSeconds: number, signal: AbortSignal): Promise<void> {
    const domain = this.#find(name);
    if (domain === undefined) return;
    this.#world.failOnRequest('shutdown', name);
    const { clock, options } = this.#world;
    const timeoutMs = timeoutSeconds * 1000;
    const isIgnored = options.ignoresShutdown.has(name);
    const stopsAtMs = domain.stopsAtMs ?? clock.nowMs() + Math.ceil(options.bootMs * STOP_SHARE);
    if (!isIgnored && domain.stopsAtMs === undefined) await this.#world.putDomain({ ...domain, stopsAtMs });
    const deadlineMs = clock.nowMs() + timeoutMs;
    const wakeAtMs = isIgnored ? deadlineMs : Math.min(deadlineMs, stopsAtMs);
    // A timer may be early by a millisecond: then the domain is still there.
    do {
      await sleep(clock, Math.max(0, wakeAtMs - clock.nowMs()), signal);
      signal.throwIfAborted();
    } while (clock.nowMs() < wakeAtMs);
    if (this.#find(name)?.domid !== domain.domid) return;
    const details = { hint: `domherd vm destroy ${name}` };
    throw new AppError('timeout', `${name} did not power off in ${timeoutSeconds} s`, details);
  }

  async destroy(name: string, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    this.#world.failOnRequest('destroy', name);
    if (this.#find(name) !== undefined) await this.#world.removeDomain(name);
  }

  async reboot(name: string, timeoutSeconds: number, signal: AbortSignal): Promise<void> {
    const domain = this.#get(name);
    this.#world.failOnRequest('reboot', name);
    const { clock, options } = this.#world;
    const timeoutMs = timeoutSeconds * 1000;
    const isIgnored = options.ignoresShutdown.has(name);
    const stopMs = Math.ceil(options.bootMs * STOP_SHARE);
    if (!isIgnored && stopMs <= timeoutMs) {
      await sleep(clock, stopMs, signal);
      signal.throwIfAborted();
      await this.#world.putDomain({ ...domain, domid: this.#world.nextDomid(), createdAtMs: clock.nowMs() });
      return;
    }
    await sleep(clock, timeoutMs, signal);
    signal.throwIfAborted();
    throw new AppError('timeout', `${name} did not reboot in ${timeoutSeconds} s`, { hint: 'it was left alone' });
  }

  pause(name: string, signal: AbortSignal): Promise<void> {
    return this.#setPaused('pause', name, signal);
  }

  unpause(name: string, signal: AbortSignal): Promise<void> {
    return this.#setPaused('unpause', name, signal);
  }

  readLimits(name: string): Promise<DomainLimits> {
    const domain = this.#find(name);
    if (domain === undefined) return Promise.reject(wrongState(`There is no domain ${name}`));
    const { memoryMib, vcpus, maxMemoryMib = memoryMib, maxVcpus = vcpus } = domain;
    return Promise.resolve({ memoryMib: maxMemoryMib, vcpus: maxVcpus });
  }

  async resize(name: string, to: Resize, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const domain = this.#get(name);
    const { memoryMib = domain.memoryMib, vcpus = domain.vcpus } = to;
    const limits = await this.readLimits(name);
    if (memoryMib > limits.memoryMib || vcpus > limits.vcpus) throw wrongState(`${name} was started with less`);
    const most = { maxMemoryMib: limits.memoryMib, maxVcpus: limits.vcpus };
    await this.#world.putDomain({ ...domain, ...most, memoryMib, vcpus });
  }

  sample(): Promise<readonly DomainSample[]> {
    const { clock, options } = this.#world;
    const nowMs = clock.nowMs();
    const sampleOf = (domain: SimDomain): DomainSample => ({
      name: domain.name,
      metrics: countersOf(domain, options.seed, nowMs),
    });
    return Promise.resolve(this.#world.domains().map(sampleOf));
  }

  async #setPaused(verb: 'pause' | 'unpause', name: string, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const domain = this.#get(name);
    this.#world.failOnRequest(verb, name);
    await this.#world.putDomain({ ...domain, isPaused: verb === 'pause' });
  }

  #get(name: string): SimDomain {
    const domain = this.#find(name);
    if (domain === undefined) throw wrongState(`There is no domain ${name}`);
    return domain;
  }

  #find(name: string): SimDomain | undefined {
    return this.#world.domains().find((domain) => domain.name === name);
  }
}

/** @throws {AppError} `invalid` for what xl would refuse */
function describeNew(cfg: XlCfg, cfgPath: string, createdAtMs: number): Omit<SimDomain, 'domid'> {
  const name = cfgName(cfg);
  if (name === undefined) throw invalid(`${cfgPath} has no name`, { path: cfgPath });
  listDisks(cfg);
  return {
    name,
    uuid: getString(cfg, 'uuid') ?? randomUUID(),
    cfgPath,
    memoryMib: getNumber(cfg, 'memory') ?? 128,
    vcpus: getNumber(cfg, 'vcpus') ?? 1,
    ...(getNumber(cfg, 'maxmem') !== undefined && { maxMemoryMib: getNumber(cfg, 'maxmem') }),
    ...(getNumber(cfg, 'maxvcpus') !== undefined && { maxVcpus: getNumber(cfg, 'maxvcpus') }),
    macs: listVifs(cfg).map((vif) => vif.macAsXlReads ?? ''),
    createdAtMs,
  };
}

/** Counters that only grow, at a pace of each domain's own, and start at 0 with each life of it. */
function countersOf(domain: SimDomain, seed: number, nowMs: number): VmMetrics {
  const paces = createHash('sha256').update(`${seed} ${domain.name}`).digest();
  const seconds = Math.max(0, nowMs - domain.createdAtMs) / 1000;
  // The wave's slope stays above -1: the sum never falls, and its rate is never the same twice.
  const active = seconds + 5 * Math.sin(seconds / 6);
  const grow = (index: number, perSecond: number): number =>
    Math.max(0, Math.floor(active * perSecond * (0.2 + (paces[index] ?? 0) / 255)));
  return {
    sampledAtMs: nowMs,
    cpuPercent: Math.round(25 * domain.vcpus * (paces[0] ?? 0) * (1 + (5 / 6) * Math.cos(seconds / 6))) / 255,
    memoryMib: domain.memoryMib,
    cpuSeconds: Math.max(0, Math.round(active * domain.vcpus * (paces[0] ?? 0)) / 255 / 4),
    rxBytes: grow(1, 40_000),
    txBytes: grow(2, 25_000),
    diskReadBytes: grow(3, 90_000),
    diskWrittenBytes: grow(4, 60_000),
  };
}
