import { deepEqual, doesNotMatch, equal, match } from 'node:assert/strict';
import { sleep, type Lab } from '../lab.js';
import { addresses, bothAnswer, domherd, vms, waitForHosts, waitForState, type Addresses } from './cli.js';
import { DISK, inGuest, waitForGuest } from './guest.js';
import type { Group } from './group.js';
import { spine } from './spine.js';

const OTHER_ADDRESS = '10.180.0.77';
const FEATURES = `dumpe2fs -h ${DISK} 2>/dev/null | grep features`;

function running(lab: Lab, host: string): Promise<string> {
  return lab.must(host, "xl list | awk 'NR > 2 {print $1, $2}'");
}

/** A journal that must be replayed before an address is written, and a controller that goes away. */
export const replay: Group = {
  name: 'replay',
  after: spine,
  steps: (lab) => {
    let given: Addresses = new Map();
    const addressOf = (host: string): string => given.get(host)?.address ?? '';
    return [
      ...bothAnswer(lab, (found) => (given = found)),
      [
        'a domU is destroyed while it runs: its disk has a journal to be replayed',
        async () => {
          await inGuest(lab, addressOf('dom0-1'), 'echo written > /root/before; sync; echo more > /root/after');
          await lab.must('dom0-1', 'xl destroy domU');
          await waitForState(lab, 'dom0-1', 'stopped', 20_000);
          match(await lab.must('dom0-1', FEATURES), /needs_recovery/);
        },
      ],
      [
        'vm address replays it and gives another address, with which the guest answers: what it had written is there',
        async () => {
          await domherd(lab, `lease release ${addressOf('dom0-1')} --yes`);
          await domherd(lab, `vm address domU@dom0-1 --address ${OTHER_ADDRESS}`);
          given = await addresses(lab);
          equal(addressOf('dom0-1'), OTHER_ADDRESS);
          doesNotMatch(await lab.must('dom0-1', FEATURES), /needs_recovery/);
          await lab.must('dom0-1', `e2fsck -fn ${DISK}`);
          await domherd(lab, 'vm start domU@dom0-1');
          await waitForGuest(lab, OTHER_ADDRESS);
          equal(await inGuest(lab, OTHER_ADDRESS, 'cat /root/before'), 'written\n');
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
