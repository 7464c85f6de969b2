import type { HostBridges } from '../../../shared/domain/bridge.js';
import type { Bridges } from '../../ports/bridges.js';
import type { SimWorld } from './sim-world.js';

/** One bridge, on which the simulated guests that run are. dom0's own address is not simulated. */
export class SimBridges implements Bridges {
  readonly #world: SimWorld;

  constructor(world: SimWorld) {
    this.#world = world;
  }

  readBridges(): Promise<HostBridges> {
    const running = this.#world.domains();
    const vifs = running.flatMap(({ name, macs }) => macs.map((_, index) => `vif-${name}.${String(index)}`));
    const members = ['eth0', ...vifs].sort();
    const bridge = { name: 'xenbr0', members, uplinks: ['eth0'], addresses: [], isUp: true };
    return Promise.resolve({ bridges: [bridge], xlBridge: undefined, xlScript: undefined });
  }
}
