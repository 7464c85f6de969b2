import { deepEqual, equal, notEqual } from 'node:assert/strict';
import { sleep, type Lab } from '../lab.js';
import { addresses, domherd, vms, waitForHosts } from './cli.js';
import { inGuest, waitForGuest } from './guest.js';
import type { Group } from './group.js';
import { spine } from './spine.js';

function running(lab: Lab, host: string): Promise<string> {
  return lab.must(host, "xl list | awk 'NR > 2 {print $1, $2}'");
}

/** A journal that must be replayed before an address is written, and a controller that goes away. */
export const replay: Group = {
  name: 'replay',
  after: spine,
  steps: (lab) => {
    let given: Awaited<ReturnType<typeof addresses>> = new Map();
    const addressOf = (host: string): string => given.get(host)?.address ?? '';
    return [
      [
        'both domUs run and answer',
        async () => {
          await lab.frontend.startController();
          await waitForHosts(lab);
          given = await addresses(lab);
          for (const host of lab.hosts) await waitForGuest(lab, addressOf(host));
        },
      ],
      [
        'a domU that was destroyed while it ran is addressed again, its journal replayed first',
        async () => {
          await waitForGuest(lab, addressOf('dom0-1'));
          await inGuest(lab, addressOf('dom0-1'), 'echo written > /root/before; sync; echo more > /root/after');
          await lab.must('dom0-1', 'xl destroy domU');
          await domherd(lab, `lease release ${addressOf('dom0-1')} --yes`);
          await domherd(lab, 'vm address domU@dom0-1');
          notEqual((await addresses(lab)).get('dom0-1')?.address, undefined);
          given = await addresses(lab);
          await lab.must('dom0-1', 'e2fsck -fn /opt/xen/domU/disk.img');
          await domherd(lab, 'vm start domU@dom0-1');
          await waitForGuest(lab, addressOf('dom0-1'));
          equal(await inGuest(lab, addressOf('dom0-1'), 'cat /root/before'), 'written\n');
        },
      ],
      [
        'the controller is away for a minute: nothing changes, and all is as before when it is back',
        async () => {
          const before = await running(lab, 'dom0-1');
          const listed = (await vms(lab)).map(({ host, state }) => `${host} ${state}`);
          await lab.frontend.stopController('SIGKILL');
          await sleep(60_000);
          equal(await running(lab, 'dom0-1'), before);
          await lab.frontend.startController();
          await waitForHosts(lab);
          deepEqual(
            (await vms(lab)).map(({ host, state }) => `${host} ${state}`),
            listed,
          );
          deepEqual(await addresses(lab), given);
        },
      ],
    ];
  },
};
