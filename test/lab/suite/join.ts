import { deepEqual, match } from 'node:assert/strict';
import { waitFor } from '../lab.js';
import { domherd, G5K_SUBNETS, vms } from './cli.js';
import { noteFiles } from './file-list.js';
import type { Group } from './group.js';

/** The tutorial's way from two dom0s of one image to a herd. */
export const join: Group = {
  name: 'join',
  steps: (lab) => [
    [
      'a controller serves on the frontend and has the reserved subnet',
      async () => {
        await lab.frontend.startController();
        await domherd(lab, 'reservation import - --name job42 --ends +8h', G5K_SUBNETS);
      },
    ],
    [
      'host add sets up both dom0s over ssh',
      async () => {
        await noteFiles(lab, 'dom0-1');
        await domherd(lab, 'host add dom0-1 dom0-2');
        const hosts = JSON.parse(await domherd(lab, 'host list -o json')) as readonly Record<string, unknown>[];
        deepEqual(
          hosts.map(({ name, state, simulated }) => ({ name, state, simulated })),
          lab.hosts.map((name) => ({ name, state: 'online', simulated: false })),
        );
      },
    ],
    [
      "their domUs are adopted as they are, the image's equal MACs are a conflict",
      async () => {
        const found = async (): Promise<string> =>
          (await vms(lab)).map(({ name, host, state }) => `${name}@${host} ${state}`).join(', ');
        const isAdopted = async (): Promise<boolean> => (await found()) === 'domU@dom0-1 stopped, domU@dom0-2 stopped';
        await waitFor('both domUs, stopped', isAdopted, 60_000);
        match(await domherd(lab, 'conflict list'), /00:16:3e:11:22:33/i);
      },
    ],
  ],
};
