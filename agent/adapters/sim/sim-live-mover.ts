import { link, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import * as v from 'valibot';
import type { LiveAdmission, LiveOffer } from '../../../shared/domain/live-migration.js';
import { wrongState } from '../../../shared/errors.js';
import type { LiveGuest } from '../../domain/live-move.js';
import type { LiveMover } from '../../ports/live-mover.js';
import { SimDomainSchema, SimGuestSchema, unlessMissing, type SimWorld } from './sim-world.js';

const SIMULATED = 'simulated';
const OpenSchema = v.object({ cfgPath: v.string(), disks: v.array(v.string()) });
const ParcelSchema = v.object({ domain: SimDomainSchema, guest: v.optional(SimGuestSchema) });

/**
 * Simulated domains go to simulated hosts of the same machine, by a file in their folder. What is simulated, too, is that all
 * hosts see the same disks.
 */
export class SimLiveMover implements LiveMover {
  readonly #world: SimWorld;
  readonly #folder: string;
  readonly #disksFolder: string;

  /**
   * @param folder absolute; made when first needed
   * @param disksFolder of {@link SimDiskStore}
   */
  constructor(world: SimWorld, folder: string, disksFolder: string) {
    this.#world = world;
    this.#disksFolder = disksFolder;
    this.#folder = folder;
  }

  offer(_id: string, guest: LiveGuest): Promise<Pick<LiveOffer, 'disks' | 'publicKey' | 'xenVersion'>> {
    const nothing = { identity: SIMULATED, sizeBytes: 0, offsets: [], digests: [] };
    const disks = guest.disks.map((path) => ({ path, ...nothing }));
    return Promise.resolve({ disks, publicKey: SIMULATED, xenVersion: SIMULATED });
  }

  async admit(id: string, cfgPath: string, { disks }: Pick<LiveOffer, 'disks'>): Promise<LiveAdmission> {
    await mkdir(this.#folder, { recursive: true });
    await writeFile(this.#open(id), JSON.stringify({ cfgPath, disks: disks.map(({ path }) => path) }));
    return { addresses: [this.#folder], port: 0, hostKeys: [], samples: [] };
  }

  async handOver(id: string, { name }: LiveOffer, { addresses: [folder = ''] }: LiveAdmission): Promise<void> {
    const domain = this.#world.domains().find((one) => one.name === name);
    if (domain === undefined) throw wrongState(`There is no domain ${name}`);
    if ((await unlessMissing(readFile(join(folder, `${id}.open`)))) === undefined) throw closed();
    // Given up first: whoever dies here, it never runs twice.
    await this.#world.removeDomain(name);
    const parcel = { domain, guest: this.#world.guestOf(domain.cfgPath) };
    if (await this.#decide(join(folder, `${id}.end`), JSON.stringify(parcel))) return;
    await this.#world.putDomain(domain);
    throw closed();
  }

  async closeArrival(id: string): Promise<void> {
    const opened = await unlessMissing(readFile(this.#open(id), 'utf8'));
    if (opened === undefined) return;
    const { cfgPath, disks } = v.parse(OpenSchema, JSON.parse(opened));
    const end = join(this.#folder, `${id}.end`);
    await this.#decide(end, '');
    const text = await readFile(end, 'utf8');
    if (text !== '') {
      const { domain, guest } = v.parse(ParcelSchema, JSON.parse(text));
      await this.#world.putDomain({ ...domain, cfgPath, domid: this.#world.nextDomid() });
      if (guest !== undefined) await this.#world.putGuest(cfgPath, guest);
      for (const path of disks) await this.#show(join(this.#disksFolder, path));
    }
    for (const path of [this.#open(id), end]) await rm(path, { force: true });
  }

  closeDeparture(): Promise<void> {
    return Promise.resolve();
  }

  recover(): Promise<void> {
    return Promise.resolve();
  }

  /** A disk that this host sees as well. */
  async #show(file: string): Promise<void> {
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, '', { flag: 'a' });
  }

  /** Whoever comes first says how it ends. @returns whether it was this one */
  async #decide(path: string, text: string): Promise<boolean> {
    const draft = `${path}.${String(process.pid)}-${text === '' ? 'shut' : 'come'}`;
    await writeFile(draft, text);
    try {
      await link(draft, path);
      return true;
    } catch {
      return false;
    } finally {
      await rm(draft, { force: true });
    }
  }

  #open(id: string): string {
    return join(this.#folder, `${id}.open`);
  }
}

function closed(): Error {
  return wrongState('The other simulated host lets nothing in any more');
}
