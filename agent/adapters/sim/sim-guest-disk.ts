import { wrongState } from '../../../shared/errors.js';
import { formatIpv4, parseIpv4 } from '../../../shared/domain/ipv4.js';
import type { RenewSettings } from '../../domain/guest/renew-plan.js';
import type { GuestSettings } from '../../domain/order.js';
import type { Guest, GuestChange, GuestDisk, GuestNetwork } from '../../ports/guest-disk.js';
import type { SimFiles, SimGuest, SimWorld } from './sim-world.js';

const FRESH: SimGuest = { addresses: {} };

/** Guests whose disks hold nothing but their addresses and hostname; a fresh one is set to DHCP. */
export class SimGuestDisk implements GuestDisk {
  readonly #world: SimWorld;

  constructor(world: SimWorld) {
    this.#world = world;
  }

  read(guest: Guest): Promise<GuestNetwork> {
    const { addresses, hostname } = this.#world.guestOf(guest.cfgPath) ?? FRESH;
    const entries = Object.entries(addresses).map(([index, address]) => [Number(index), parseIpv4(address)] as const);
    return Promise.resolve({ addresses: new Map(entries), hostname });
  }

  async write(guest: Guest, settings: GuestSettings, signal: AbortSignal): Promise<GuestChange> {
    signal.throwIfAborted();
    this.#world.failOnRequest('configure', guest.name);
    const before = this.#refuseBusy(guest);
    const given = settings.vifs.map((vif) => [`${vif.index}`, formatIpv4(vif.address)] as const);
    const addresses = { ...before.addresses, ...Object.fromEntries(given) };
    const hostname = settings.hostname ?? before.hostname;
    const { original } = before;
    await this.#world.putGuest(guest.cfgPath, { addresses, hostname, before: filesOf(before), original });
    return this.#change(guest.cfgPath);
  }

  async restore(guest: Guest, signal: AbortSignal): Promise<GuestChange | undefined> {
    signal.throwIfAborted();
    this.#world.failOnRequest('restore', guest.name);
    const before = this.#refuseBusy(guest);
    const { original } = before;
    if (original === undefined) return undefined;
    await this.#world.putGuest(guest.cfgPath, { ...original, before: filesOf(before), original, isRestore: true });
    return this.#change(guest.cfgPath);
  }

  async renew(guest: Guest, _settings: RenewSettings, signal: AbortSignal): Promise<readonly string[]> {
    signal.throwIfAborted();
    this.#world.failOnRequest('copy', guest.name);
    await this.#world.putGuest(guest.cfgPath, FRESH);
    return [];
  }

  async grow(guest: Guest, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    this.#refuseBusy(guest);
    return Promise.resolve();
  }

  forget(cfgPath: string): Promise<void> {
    return this.#world.dropGuest(cfgPath);
  }

  async follow(from: string, to: string): Promise<void> {
    const guest = this.#world.guestOf(from);
    if (guest !== undefined) await this.#world.putGuest(to, guest);
    await this.#world.dropGuest(from);
  }

  findOpen(cfgPath: string): Promise<GuestChange | undefined> {
    const isOpen = this.#world.guestOf(cfgPath)?.before !== undefined;
    return Promise.resolve(isOpen ? this.#change(cfgPath) : undefined);
  }

  /** @returns the guest as it is */
  #refuseBusy({ name, cfgPath }: Guest): SimGuest {
    const guest = this.#world.guestOf(cfgPath) ?? FRESH;
    if (this.#world.domains().some((domain) => domain.name === name)) {
      throw wrongState(`The disk of ${name} is in use: the domain exists`, { hint: `domherd vm shutdown ${name}` });
    }
    if (guest.before === undefined) return guest;
    throw wrongState(`An earlier change of the guest of ${cfgPath} is open`, { hint: 'restart domherd-agent' });
  }

  #change(cfgPath: string): GuestChange {
    const end = async (after: (guest: SimGuest, before: SimFiles) => SimGuest): Promise<void> => {
      const guest = this.#world.guestOf(cfgPath);
      if (guest?.before !== undefined) await this.#world.putGuest(cfgPath, after(guest, guest.before));
    };
    return {
      warnings: [],
      undo: () => end(({ original }, before) => ({ ...before, original })),
      keep: () =>
        end((guest, before) => ({
          ...filesOf(guest),
          original: guest.isRestore ? undefined : (guest.original ?? before),
        })),
    };
  }
}

function filesOf({ addresses, hostname }: SimGuest): SimFiles {
  return { addresses, hostname };
}
