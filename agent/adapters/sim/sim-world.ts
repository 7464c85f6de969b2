// Invariants:
// - What a domain does is a function of the time since it was created or asked to stop: an agent that was killed finds its
//   domains where they would be, as on a real host.
// - A change is on disk before whoever asked for it is answered. Not synced: a power cut ends domains.
import { randomUUID } from 'node:crypto';
import { link, mkdir, readFile, rename, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { AppError, messageOf, wrongState } from '../../../shared/errors.js';
import type { SimAction, SimOptions } from '../../domain/sim-option.js';
import type { Domain } from '../../domain/vm.js';
import type { Clock } from '../../ports/clock.js';

export const SimDomainSchema = v.object({
  name: v.string(),
  uuid: v.string(),
  cfgPath: v.string(),
  memoryMib: v.number(),
  vcpus: v.number(),
  /** What it was started with room for; left out: as much as it has. */
  maxMemoryMib: v.optional(v.number()),
  maxVcpus: v.optional(v.number()),
  /** MACs in the order of vifs; empty for one that libxl would have invented. */
  macs: v.array(v.string()),
  /** 0: of a world that had none yet. */
  domid: v.optional(v.number(), 0),
  createdAtMs: v.number(),
  stopsAtMs: v.optional(v.number()),
  isPaused: v.optional(v.boolean()),
});

const FILES = {
  /** By vif index. */
  addresses: v.record(v.string(), v.string()),
  hostname: v.optional(v.string()),
};

export const SimGuestSchema = v.object({
  ...FILES,
  /** As it was before a change that is open. */
  before: v.optional(v.object(FILES)),
  /** As it was before the first change that stood. */
  original: v.optional(v.object(FILES)),
  /** The change that is open gives that back. */
  isRestore: v.optional(v.boolean()),
});

const SimStateSchema = v.object({
  /** Random, made with the world. */
  deploymentId: v.string(),
  domains: v.array(SimDomainSchema),
  /** The last one given. */
  domid: v.optional(v.number(), 0),
  /** By cfg path. */
  guests: v.record(v.string(), SimGuestSchema),
});

export type SimDomain = Readonly<v.InferOutput<typeof SimDomainSchema>>;
export type SimFiles = Pick<SimGuest, keyof typeof FILES>;
export type SimGuest = Readonly<v.InferOutput<typeof SimGuestSchema>>;

/** The simulated hardware: what runs, and what is on the guests' disks. */
export class SimWorld {
  readonly options: SimOptions;
  readonly clock: Clock;
  readonly #path: string;
  #deploymentId = '';
  readonly #listeners = new Set<() => void>();
  #domains: readonly SimDomain[] = [];
  #domid = 0;
  #guests: Readonly<Record<string, SimGuest>> = {};
  #writing: Promise<void> = Promise.resolve();
  #takeBackTimer: (() => void) | undefined;

  private constructor(path: string, options: SimOptions, clock: Clock) {
    this.#path = path;
    this.options = options;
    this.clock = clock;
  }

  /**
   * @param folder absolute; made if it is missing
   * @throws {AppError} `wrong_state` if the state that is there cannot be read
   */
  static async open(folder: string, options: SimOptions, clock: Clock): Promise<SimWorld> {
    const path = join(folder, 'world.json');
    await mkdir(folder, { recursive: true });
    const world = new SimWorld(path, options, clock);
    world.#load((await unlessMissing(readFile(path, 'utf8'))) ?? (await world.#create()));
    return world;
  }

  /** Of this world; another one has another. */
  get deploymentId(): string {
    return this.#deploymentId;
  }

  /** Those that exist now. */
  domains(): readonly SimDomain[] {
    const nowMs = this.clock.nowMs();
    return this.#domains.filter((domain) => domain.stopsAtMs === undefined || nowMs < domain.stopsAtMs);
  }

  stateOf(domain: SimDomain): Domain['state'] {
    if (domain.isPaused) return 'paused';
    if (domain.stopsAtMs !== undefined) return 'stopping';
    return this.clock.nowMs() < domain.createdAtMs + this.options.bootMs ? 'starting' : 'running';
  }

  guestOf(cfgPath: string): SimGuest | undefined {
    return Object.hasOwn(this.#guests, cfgPath) ? this.#guests[cfgPath] : undefined;
  }

  /** Of a domain that is made next. */
  nextDomid(): number {
    this.#domid += 1;
    return this.#domid;
  }

  /** Adds a domain, or replaces the one of that name. @throws {AppError} `unavailable` */
  putDomain(domain: SimDomain): Promise<void> {
    const others = this.domains().filter((one) => one.name !== domain.name);
    return this.#commit([...others, domain], this.#guests);
  }

  /** @throws {AppError} `unavailable` */
  removeDomain(name: string): Promise<void> {
    return this.#commit(
      this.domains().filter((one) => one.name !== name),
      this.#guests,
    );
  }

  /** @throws {AppError} `unavailable` */
  putGuest(cfgPath: string, guest: SimGuest): Promise<void> {
    return this.#commit(this.#domains, { ...this.#guests, [cfgPath]: guest });
  }

  /** @throws {AppError} `unavailable` */
  dropGuest(cfgPath: string): Promise<void> {
    const others = Object.entries(this.#guests).filter(([path]) => path !== cfgPath);
    return this.#commit(this.#domains, Object.fromEntries(others));
  }

  /** @throws {AppError} `wrong_state` if that is to fail */
  failOnRequest(action: SimAction, name: string): void {
    if (!this.options.failures.has(`${action}:${name}`)) return;
    throw wrongState(`${action} of ${name} failed, as it was asked to`, { output: `--sim fail=${action}:${name}` });
  }

  /** Calls after something changed, also when time did it. @returns ends it */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    this.#armTimer();
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size === 0) this.#takeBackTimer?.();
    };
  }

  /** @returns what is there then: of two at the same time, one makes it for both */
  async #create(): Promise<string> {
    const draft = `${this.#path}.${randomUUID()}`;
    const state = { deploymentId: `sim-${randomUUID()}`, domains: [], domid: 0, guests: {} };
    try {
      await writeFile(draft, JSON.stringify(state));
      await link(draft, this.#path).catch((error: unknown) => {
        if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
      });
      await unlink(draft);
      return await readFile(this.#path, 'utf8');
    } catch (error) {
      throw new AppError('unavailable', `${this.#path} cannot be made: ${messageOf(error)}`, {}, error);
    }
  }

  #load(text: string): void {
    try {
      const state = v.parse(SimStateSchema, JSON.parse(text));
      this.#deploymentId = state.deploymentId;
      this.#domains = state.domains;
      this.#domid = state.domid;
      this.#guests = state.guests;
    } catch (error) {
      const details = { path: this.#path, hint: 'remove it: nothing real is in it' };
      throw wrongState(`${this.#path} cannot be read: ${messageOf(error)}`, details);
    }
  }

  async #commit(domains: readonly SimDomain[], guests: Readonly<Record<string, SimGuest>>): Promise<void> {
    this.#domains = domains;
    this.#guests = guests;
    // The state at the time of writing, not of asking: several changes may go with one write.
    const written = this.#writing.then(() => this.#write());
    this.#writing = written.catch(() => undefined);
    await written;
    this.#tell();
  }

  async #write(): Promise<void> {
    const temporary = `${this.#path}.tmp`;
    try {
      await writeFile(temporary, JSON.stringify(this.#state()));
      await rename(temporary, this.#path);
    } catch (error) {
      throw new AppError('unavailable', `${this.#path} cannot be written: ${messageOf(error)}`, {}, error);
    }
  }

  #state(): v.InferOutput<typeof SimStateSchema> {
    return { deploymentId: this.#deploymentId, domains: [...this.#domains], domid: this.#domid, guests: this.#guests };
  }

  #tell(): void {
    for (const listener of this.#listeners) listener();
    this.#armTimer();
  }

  /** One timer a host: for the next domain that has booted or stopped. */
  #armTimer(): void {
    this.#takeBackTimer?.();
    if (this.#listeners.size === 0) return;
    const nowMs = this.clock.nowMs();
    const moments = this.#domains.map((domain) => domain.stopsAtMs ?? domain.createdAtMs + this.options.bootMs);
    const next = Math.min(...moments.filter((atMs) => atMs > nowMs));
    if (Number.isFinite(next)) this.#takeBackTimer = this.clock.schedule(next - nowMs, () => this.#tell());
  }
}

/** What `read` gives, or `undefined` if there is no such file. */
export async function unlessMissing<T>(read: Promise<T>): Promise<T | undefined> {
  try {
    return await read;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}
