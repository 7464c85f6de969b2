// Invariants:
// - What repeats forks nothing: domains come from xenstore, their flags from one xentop, counters from sysfs.
// - A verb acts on a domid that was just looked up: a name may be another domain's a moment later.
// - One domain is created at a time: xl holds a lock of the host meanwhile, and whoever waits for it has no limit.
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { AppError, invalid, messageOf, wrongState } from '../../../shared/errors.js';
import type { Exec, Follow } from '../../../shared/exec.js';
import type { Resize } from '../../domain/set-plan.js';
import type { Domain, DomainLimits } from '../../domain/vm.js';
import { stateOf } from '../../domain/xen/domain-state.js';
import { listDisks } from '../../domain/xl-cfg/disk.js';
import { isReadableMac } from '../../domain/xl-cfg/vif-mac.js';
import { listVifs } from '../../domain/xl-cfg/vif.js';
import { cfgName, parseXlCfg } from '../../domain/xl-cfg/xl-cfg.js';
import type { CfgFolder } from '../../ports/cfg-folder.js';
import type { Clock } from '../../ports/clock.js';
import type { DomainSample, Toolstack } from '../../ports/toolstack.js';
import { readBackendCounters } from './backend-counters.js';
import type { XenHost } from './xen-host.js';
import { XentopMeter } from './xentop-meter.js';
import { XenstoreDomains, type ListedDomain } from './xenstore-domains.js';
import { Xenstore } from './xenstore.js';
import { XlCommand } from './xl-command.js';

/** How often `xl list` is asked while xenstored cannot be. */
const POLL_MS = 1000;
/** While something is waited for: a look all the same, should nobody tell. */
const RECHECK_MS = 5000;
/** For the last of a domain to go after xl has ended it; and for one that is made anew each time it is ended. */
const GONE_MS = 60_000;

const NO_COUNTERS = { rxBytes: 0, txBytes: 0, diskReadBytes: 0, diskWrittenBytes: 0 };

export interface XlToolstackParts {
  readonly host: XenHost;
  readonly exec: Exec;
  readonly follow: Follow;
  readonly cfgFolder: CfgFolder;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Xen by xl, xenstore, xentop and sysfs. */
export class XlToolstack implements Toolstack {
  readonly isSimulated = false;
  readonly #parts: XlToolstackParts;
  readonly #xl: XlCommand;
  readonly #store: Xenstore;
  readonly #domains: XenstoreDomains;
  readonly #meter: XentopMeter;
  readonly #listeners = new Set<() => void>();
  /** By name: the domain that the meter's reading is of. */
  readonly #domids = new Map<string, number>();
  /** Guests that this agent asks to stop now, by domid. */
  readonly #asked = new Set<number>();
  #creating: Promise<unknown> = Promise.resolve();
  #takeBackPoll: (() => void) | undefined;
  #polled = '';
  #shape = '';
  /** Called after a domain came, went or changed its size, when that is seen. */
  onDomains: () => void = () => undefined;

  constructor(parts: XlToolstackParts) {
    const { host, exec, follow, clock, log } = parts;
    this.#parts = parts;
    this.#xl = new XlCommand(exec, host);
    this.#store = new Xenstore(host.xenstoreSocket, clock);
    this.#domains = new XenstoreDomains(this.#store);
    this.#meter = new XentopMeter(host.xentop, follow, clock, log);
    this.#meter.onChange = () => this.#tell();
    this.#store.onChange = (path) => {
      if (path === '') this.#pollWhileBlind();
      this.#tell();
    };
  }

  async listDomains(): Promise<readonly Domain[]> {
    const [listed] = await Promise.all([this.#list(), this.#meter.use()]);
    const domains = await Promise.all(listed.map((domain) => this.#describe(domain)));
    this.#noteShape(domains);
    return domains;
  }

  watch(onChange: () => void): () => void {
    const listener = (): void => onChange();
    this.#listeners.add(listener);
    if (this.#listeners.size === 1) {
      this.#domains.watch();
      this.#pollWhileBlind();
    }
    return () => {
      if (this.#listeners.delete(listener) && this.#listeners.size === 0) this.close();
    };
  }

  async create(cfgPath: string, signal: AbortSignal): Promise<void> {
    const name = checkCfg(cfgPath, await this.#parts.cfgFolder.read(cfgPath));
    const turn = this.#creating.then(() => this.#createOne(name, cfgPath, signal));
    this.#creating = turn.catch(() => undefined);
    await turn;
  }

  async shutdown(name: string, timeoutSeconds: number, signal: AbortSignal): Promise<void> {
    const domain = await this.#find(name);
    if (domain === undefined) return;
    if (await this.#askAndWait('shutdown', domain, timeoutSeconds * 1000, signal)) return;
    const details = { hint: `domherd vm destroy ${name}` };
    throw new AppError('timeout', `${name} did not power off in ${timeoutSeconds} s`, details);
  }

  async destroy(name: string, signal: AbortSignal): Promise<void> {
    const { clock } = this.#parts;
    const deadlineMs = clock.nowMs() + GONE_MS;
    // One that crashes and is made anew has another domid each time.
    for (;;) {
      signal.throwIfAborted();
      const domain = await this.#find(name);
      if (domain === undefined) return;
      await this.#end(domain);
      this.#tell();
      if (clock.nowMs() > deadlineMs) throw new AppError('timeout', `${name} is there again each time it is destroyed`);
    }
  }

  async reboot(name: string, timeoutSeconds: number, signal: AbortSignal): Promise<void> {
    const { clock } = this.#parts;
    const deadlineMs = clock.nowMs() + timeoutSeconds * 1000;
    const domain = await this.#get(name);
    if (!(await this.#askAndWait('reboot', domain, timeoutSeconds * 1000, signal))) {
      throw new AppError('timeout', `${name} did not reboot in ${timeoutSeconds} s`, { hint: 'it was left alone' });
    }
    const isBack = async (): Promise<boolean> => (await this.#find(name)) !== undefined;
    if (await this.#until(isBack, Math.max(0, deadlineMs - clock.nowMs()), signal)) return;
    throw new AppError('timeout', `${name} powered off and did not come again in ${timeoutSeconds} s`, {
      hint: 'on_reboot of its cfg tells what happens then; domherd vm start starts it',
    });
  }

  pause(name: string, signal: AbortSignal): Promise<void> {
    return this.#setPaused('pause', name, signal);
  }

  unpause(name: string, signal: AbortSignal): Promise<void> {
    return this.#setPaused('unpause', name, signal);
  }

  async readLimits(name: string): Promise<DomainLimits> {
    const { domid, memoryMib, vcpus } = await this.#get(name);
    // Only xenstore knows more than what it has now.
    return this.#domains.limitsOf(domid).catch(() => ({ memoryMib, vcpus }));
  }

  async resize(name: string, { memoryMib, vcpus }: Resize, signal: AbortSignal): Promise<void> {
    const { domid } = await this.#get(name);
    signal.throwIfAborted();
    if (memoryMib !== undefined) await this.#xl.setMemory(domid, memoryMib);
    if (vcpus !== undefined) await this.#xl.setVcpus(domid, vcpus);
    this.#tell();
  }

  async domidOf(name: string): Promise<number> {
    return (await this.#get(name)).domid;
  }

  async sample(): Promise<readonly DomainSample[]> {
    const { clock, host } = this.#parts;
    const [domains, counters] = await Promise.all([
      this.#list(),
      readBackendCounters(host.backendFolder),
      this.#meter.use(),
    ]);
    const sampledAtMs = clock.nowMs();
    return domains.flatMap(({ name, domid }) => {
      const reading = this.#meter.read(name);
      if (reading === undefined) return [];
      this.#meter.settle(name);
      const { cpuSeconds, cpuPercent, memoryMib } = reading;
      const ofXentop = { cpuSeconds, cpuPercent, memoryMib };
      return [{ name, metrics: { sampledAtMs, ...ofXentop, ...(counters.get(domid) ?? NO_COUNTERS) } }];
    });
  }

  /** Ends what runs and what is open for it; it may be used again. */
  close(): void {
    this.#takeBackPoll?.();
    this.#takeBackPoll = undefined;
    this.#domains.close();
    this.#meter.close();
  }

  async #list(): Promise<readonly ListedDomain[]> {
    const domains = await this.#domains.list().catch(() => this.#listByXl());
    const now = new Map(domains.map(({ name, domid }) => [name, domid]));
    for (const [name, domid] of this.#domids) if (now.get(name) !== domid) this.#meter.forget(name);
    this.#domids.clear();
    for (const [name, domid] of now) this.#domids.set(name, domid);
    return domains;
  }

  // With the state: a domain takes its memory while it is starting, and gives it back after it is gone.
  #noteShape(domains: readonly Domain[]): void {
    const shape = domains.map(({ uuid, memoryMib, state }) => `${uuid} ${memoryMib} ${state}`).join();
    if (shape !== this.#shape) this.onDomains();
    this.#shape = shape;
  }

  /** @throws {AppError} `unavailable` */
  async #listByXl(): Promise<readonly ListedDomain[]> {
    const rows = await this.#xl.list();
    return rows.filter(({ domid }) => domid !== 0).map((row) => ({ ...row, isAskedToStop: false }));
  }

  async #find(name: string): Promise<ListedDomain | undefined> {
    return (await this.#list()).find((domain) => domain.name === name);
  }

  async #get(name: string): Promise<ListedDomain> {
    const domain = await this.#find(name);
    if (domain === undefined) throw wrongState(`There is no domain ${name}`);
    return domain;
  }

  async #setPaused(verb: 'pause' | 'unpause', name: string, signal: AbortSignal): Promise<void> {
    const { domid } = await this.#get(name);
    signal.throwIfAborted();
    await this.#xl.pause(verb, domid);
    this.#meter.setPaused(name, verb === 'pause');
    this.#tell();
  }

  async #describe(domain: ListedDomain): Promise<Domain> {
    const { name, uuid, memoryMib, vcpus, domid } = domain;
    const flags = domain.flags ?? this.#meter.read(name)?.flags;
    const isInDoubt = flags === undefined || flags.includes('p');
    const state = stateOf({
      flags,
      isWatched: this.#meter.isTelling,
      isBuilt: !isInDoubt || (await this.#isBuilt(domid, uuid)),
      isAskedToStop: domain.isAskedToStop || this.#asked.has(domid),
    });
    return { name, uuid, memoryMib, vcpus, state };
  }

  #isBuilt(domid: number, uuid: string): Promise<boolean> {
    return access(join(this.#parts.host.libxlFolder, `userdata-d.${domid}.${uuid}.libxl-json`)).then(
      () => true,
      () => false,
    );
  }

  async #createOne(name: string, cfgPath: string, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if ((await this.#find(name)) !== undefined) {
      throw new AppError('already_exists', `A domain ${name} exists already`, { name });
    }
    const outcome = await this.#xl.create(name, cfgPath, signal).finally(() => this.#tell());
    if (outcome === 'done') {
      // xentop may have seen it last while it was built.
      this.#meter.setPaused(name, false);
      return this.#tell();
    }
    const details = await this.#endHalf(name);
    if (outcome === 'aborted') signal.throwIfAborted();
    throw new AppError('timeout', `${name} was not created in 300 s`, details);
  }

  /** No other create ran meanwhile, and there was none of that name before: it is ours. */
  async #endHalf(name: string): Promise<Readonly<Record<string, string>>> {
    try {
      const half = await this.#find(name);
      if (half === undefined) return {};
      await this.#end(half);
      return { destroyed: `domain ${half.domid}` };
    } catch (error) {
      this.#parts.log.error({ err: error, vm: name }, 'a domain that was half created could not be destroyed');
      return { notUndone: messageOf(error), hint: `on the host: xl destroy ${name}` };
    }
  }

  async #end(domain: ListedDomain): Promise<void> {
    try {
      await this.#xl.destroy(domain.domid);
    } catch (error) {
      // It went by itself meanwhile, or xl fails after the deed.
      if (await this.#isThere(domain)) throw error;
    }
    const isGone = await this.#until(async () => !(await this.#isThere(domain)), GONE_MS, new AbortController().signal);
    if (!isGone) throw wrongState(`${domain.name} was destroyed, and is still there`);
  }

  /** @returns whether the domain ended in time @throws {AppError} `wrong_state` */
  async #askAndWait(
    verb: 'shutdown' | 'reboot',
    domain: ListedDomain,
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<boolean> {
    const { clock } = this.#parts;
    const deadlineMs = clock.nowMs() + timeoutMs;
    const isGone = async (): Promise<boolean> => !(await this.#isThere(domain));
    this.#asked.add(domain.domid);
    this.#tell();
    try {
      await this.#xl.ask(verb, domain.domid, timeoutMs, signal).catch(async (error: unknown) => {
        signal.throwIfAborted();
        if (!(await isGone())) throw error;
      });
      return await this.#until(isGone, Math.max(0, deadlineMs - clock.nowMs()), signal);
    } finally {
      this.#asked.delete(domain.domid);
      this.#tell();
    }
  }

  async #isThere({ domid }: ListedDomain): Promise<boolean> {
    return (await this.#list()).some((one) => one.domid === domid);
  }

  /** Looks at each change. A toolstack that does not answer meanwhile may do so again. @throws what aborted it */
  async #until(isSo: () => Promise<boolean>, timeoutMs: number, signal: AbortSignal): Promise<boolean> {
    const { clock } = this.#parts;
    const deadlineMs = clock.nowMs() + timeoutMs;
    let wake = (): void => undefined;
    const endWatch = this.watch(() => wake());
    const abort = (): void => wake();
    signal.addEventListener('abort', abort);
    try {
      for (;;) {
        const woken = new Promise<void>((resolve) => (wake = resolve));
        if (await isSo().catch(() => false)) return true;
        signal.throwIfAborted();
        const leftMs = deadlineMs - clock.nowMs();
        if (leftMs <= 0) return false;
        const takeBack = clock.schedule(Math.min(leftMs, RECHECK_MS), wake);
        await woken;
        takeBack();
      }
    } finally {
      signal.removeEventListener('abort', abort);
      endWatch();
    }
  }

  /** Until xenstored tells what happens. */
  #pollWhileBlind(): void {
    if (this.#takeBackPoll !== undefined || this.#store.isConnected || this.#listeners.size === 0) return;
    this.#takeBackPoll = this.#parts.clock.schedule(POLL_MS, () => {
      void this.#poll().finally(() => {
        this.#takeBackPoll = undefined;
        this.#pollWhileBlind();
      });
    });
  }

  async #poll(): Promise<void> {
    if (this.#store.isConnected) return;
    const seen = await this.#xl.list().then(
      (rows) => JSON.stringify(rows.map(({ flags, ...row }) => ({ ...row, flags: flags.replace(/[br]/g, '') }))),
      (error: unknown) => messageOf(error),
    );
    if (seen !== this.#polled) this.#tell();
    this.#polled = seen;
  }

  #tell(): void {
    for (const listener of [...this.#listeners]) listener();
  }
}

/**
 * xl only warns of a wrong parameter of a vif and goes on: what it would misread is refused before.
 *
 * @returns the name @throws {AppError} `invalid`
 */
function checkCfg(cfgPath: string, text: string): string {
  const cfg = parseXlCfg(text);
  const name = cfgName(cfg);
  if (name === undefined) throw invalid(`${cfgPath} has no name`, { path: cfgPath });
  listDisks(cfg);
  const wrong = listVifs(cfg).find(({ mac }) => mac !== undefined && !isReadableMac(mac));
  if (wrong === undefined) return name;
  throw invalid(`${cfgPath}: vif ${wrong.index} has "${wrong.mac}" for a MAC`, {
    path: cfgPath,
    hint: `domherd vm address ${name} gives it one`,
  });
}
