import { deepEqual, equal, match } from 'node:assert/strict';
import { addresses, domherd, hostsAreBack } from './cli.js';
import { domains, inGuest, isPinged, waitForGuest } from './guest.js';
import type { Group } from './group.js';
import { join } from './join.js';
import { imageSums, startAndReach } from './made-vms.js';

/** The tutorial's way on to a file of addresses. */
export const spine: Group = {
  name: 'spine',
  after: join,
  steps: (lab) => [
    hostsAreBack(lab),
    [
      'vm address --dry-run writes nothing, vm address gives each its own',
      async () => {
        const before = await imageSums(lab);
        await domherd(lab, 'vm address --all --dry-run');
        deepEqual(await imageSums(lab), before);
        await domherd(lab, 'vm address --all');
        const given = [...(await addresses(lab)).values()];
        equal(new Set(given.map(({ address }) => address)).size, 2);
        equal(new Set(given.map(({ mac }) => mac)).size, 2);
        equal(await domherd(lab, 'conflict list -o json'), '[]\n');
        for (const host of lab.hosts) await lab.must(host, 'e2fsck -fn /opt/xen/domU/disk.img');
      },
    ],
    [
      'both start, and wait sees them answer ping and ssh',
      async () => {
        await startAndReach(lab, '--all');
        for (const host of lab.hosts) deepEqual(await domains(lab, host), ['domU']);
      },
    ],
    [
      'the file of addresses is right: each answers ping and ssh, with the MAC of its lease',
      async () => {
        const given = await addresses(lab);
        const file = (await domherd(lab, 'vm list -o ips')).trim().split('\n');
        deepEqual(
          file,
          [...given.values()].map(({ address }) => address),
        );
        for (const { address, mac } of given.values()) {
          equal(await isPinged(lab, address), true);
          await waitForGuest(lab, address);
          match((await inGuest(lab, address, 'cat /sys/class/net/eth0/address')) ?? '', new RegExp(mac, 'i'));
          match((await inGuest(lab, address, 'cat /etc/resolv.conf')) ?? '', /nameserver 172\.16\.16\.247/);
          const { stdout } = await lab.frontend.run(['ip', 'neigh', 'show', address]);
          match(stdout, new RegExp(mac, 'i'));
        }
      },
    ],
  ],
};
