import { formatIpv4, type Ipv4 } from '../../../shared/domain/ipv4.js';
import { macFromNumber, parseMac } from '../../../shared/domain/mac.js';
import type { WireAnswer, WireProbe } from '../../ports/wire-probe.js';
import type { SimWorld } from './sim-world.js';

/** Of a locally administered address, 02:00:..: no maker has it. The address itself follows. */
const STRANGER = 0x0200 * 2 ** 32;

/** A wire on which this host's simulated guests answer, and the strangers that `--sim in-use=IP` names. */
export class SimWire implements WireProbe {
  readonly #world: SimWorld;

  constructor(world: SimWorld) {
    this.#world = world;
  }

  probe(address: Ipv4): Promise<WireAnswer> {
    if (this.#world.options.inUse.has(address)) {
      return Promise.resolve({ kind: 'answered', mac: macFromNumber(STRANGER + address) });
    }
    const mac = this.#macOfGuest(formatIpv4(address));
    return Promise.resolve(mac === undefined ? { kind: 'silent' } : { kind: 'answered', mac: parseMac(mac) });
  }

  #macOfGuest(address: string): string | undefined {
    for (const domain of this.#world.domains()) {
      if (this.#world.stateOf(domain) !== 'running') continue;
      const addresses = Object.entries(this.#world.guestOf(domain.cfgPath)?.addresses ?? {});
      const index = addresses.find(([, has]) => has === address)?.[0];
      const mac = index === undefined ? undefined : domain.macs[Number(index)];
      if (mac !== undefined && mac !== '') return mac;
    }
    return undefined;
  }
}
