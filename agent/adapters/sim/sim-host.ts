import { mkdir, mkdtemp, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { SimOptions } from '../../domain/sim-option.js';
import type { CfgFolder } from '../../ports/cfg-folder.js';
import type { Clock } from '../../ports/clock.js';
import type { DeploymentSource } from '../../ports/host-report.js';
import { SimBridges } from './sim-bridges.js';
import { SimConsoles } from './sim-consoles.js';
import { SimGuestDisk } from './sim-guest-disk.js';
import { imageCfg, imageVmNames } from './sim-image.js';
import { SimLiveMover } from './sim-live-mover.js';
import { SimToolstack } from './sim-toolstack.js';
import { SimWire } from './sim-wire.js';
import { SimWorld, unlessMissing } from './sim-world.js';

export interface SimHost {
  readonly toolstack: SimToolstack;
  readonly guestDisk: SimGuestDisk;
  readonly wire: SimWire;
  readonly bridges: SimBridges;
  readonly consoles: SimConsoles;
  readonly mover: SimLiveMover;
  readonly deployment: DeploymentSource;
}

/**
 * A host without Xen: `world.json` in the folder, and real cfg files in `xen/`, made at the first run. Removing the folder
 * is a new deployment.
 *
 * @param folder absolute; made if it is missing
 * @param cfgFolder of the `xen` folder in it
 * @throws {AppError} `wrong_state` if `world.json` cannot be read
 */
export async function openSimHost(
  folder: string,
  cfgFolder: CfgFolder,
  options: SimOptions,
  clock: Clock,
): Promise<SimHost> {
  await mkdir(folder, { recursive: true });
  await ensureImage(join(folder, 'xen'), options.vms);
  const world = await SimWorld.open(folder, options, clock);
  return {
    toolstack: new SimToolstack(world, cfgFolder),
    guestDisk: new SimGuestDisk(world),
    wire: new SimWire(world),
    bridges: new SimBridges(world),
    consoles: new SimConsoles(world),
    mover: new SimLiveMover(world, join(folder, 'arrivals'), join(folder, 'disks')),
    deployment: simDeployment(world.deploymentId),
  };
}

/** All files at once: a first run that is cut short begins anew, and of two at the same time one makes them. */
async function ensureImage(xenFolder: string, count: number): Promise<void> {
  if ((await unlessMissing(stat(xenFolder))) !== undefined) return;
  const draft = await mkdtemp(`${xenFolder}.new-`);
  const write = (name: string): Promise<void> => writeFile(join(draft, `${name}.cfg`), imageCfg(name));
  await Promise.all(imageVmNames(count).map(write));
  await rename(draft, xenFolder).catch(async (error: unknown) => {
    await rm(draft, { recursive: true, force: true });
    if ((await unlessMissing(stat(xenFolder))) === undefined) throw error;
  });
}

/** Made up with the simulated host, and kept with it. */
function simDeployment(id: string): DeploymentSource {
  const facts = { rootFs: undefined, machine: undefined, macs: [] };
  return { readDeploymentId: () => Promise.resolve(id), readDeployment: () => Promise.resolve({ id, facts }) };
}
