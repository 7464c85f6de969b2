import { wrongState } from '../../../shared/errors.js';
import { formatIpv4, parseIpv4 } from '../../../shared/domain/ipv4.js';
import type { GuestSettings } from '../../domain/order.js';
import type { Guest, GuestChange, GuestDisk, GuestNetwork } from '../../ports/guest-disk.js';
import type { SimGuest, SimWorld } from './sim-world.js';

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
    if (this.#world.domains().some((domain) => domain.name === guest.name)) {
      throw wrongState(`The disk of ${guest.name} is in use: the domain exists`);
    }
    const before = this.#world.guestOf(guest.cfgPath) ?? FRESH;
    const given = settings.vifs.map((vif) => [`${vif.index}`, formatIpv4(vif.address)] as const);
    const addresses = { ...before.addresses, ...Object.fromEntries(given) };
    const hostname = settings.hostname ?? before.hostname;
    await this.#world.putGuest(guest.cfgPath, { addresses, hostname, before: filesOf(before) });
    return this.#change(guest.cfgPath);
  }

  findOpen(cfgPath: string): Promise<GuestChange | undefined> {
    const isOpen = this.#world.guestOf(cfgPath)?.before !== undefined;
    return Promise.resolve(isOpen ? this.#change(cfgPath) : undefined);
  }

  #change(cfgPath: string): GuestChange {
    const put = async (pick: (guest: SimGuest) => SimGuest | undefined): Promise<void> => {
      const guest = this.#world.guestOf(cfgPath);
      const files = guest && pick(guest);
      if (guest?.before !== undefined && files !== undefined) await this.#world.putGuest(cfgPath, filesOf(files));
    };
    return { warnings: [], undo: () => put(({ before }) => before), keep: () => put((guest) => guest) };
  }
}

function filesOf({ addresses, hostname }: SimGuest): SimGuest {
  return { addresses, hostname };
}
