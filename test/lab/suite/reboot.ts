import { deepEqual, equal, notEqual } from 'node:assert/strict';
import { addresses, bothAnswer, domherd, waitForHosts, waitForState, type Addresses } from './cli.js';
import { GUEST_MS, isPinged, waitForGuest } from './guest.js';
import type { Group } from './group.js';
import { spine } from './spine.js';

/** dom0-1 has xendomains as Debian has it; on dom0-2 saving is off and domU starts by its link. */
const SAVING_OFF = "sed -i 's/^XENDOMAINS_SAVE=.*/XENDOMAINS_SAVE=/' /etc/default/xendomains";
const AUTOSTART = 'mkdir -p /etc/xen/auto && ln -s ../domU.cfg /etc/xen/auto/domU.cfg';

/** Addresses and MACs last over a reboot of the dom0, whatever becomes of the domUs meanwhile. */
export const reboot: Group = {
  name: 'reboot',
  after: spine,
  steps: (lab) => {
    let before: Addresses = new Map();
    let boots: ReadonlyMap<string, string> = new Map();
    const guestBoot = async (host: string): Promise<string> => waitForGuest(lab, before.get(host)?.address ?? '');
    return [
      ...bothAnswer(lab, (...found) => ([before, boots] = found)),
      [
        'both dom0s reboot in order',
        async () => {
          await lab.must('dom0-2', `${SAVING_OFF} && ${AUTOSTART}`);
          await Promise.all(lab.hosts.map((host) => lab.reboot(host)));
          await waitForHosts(lab);
        },
      ],
      [
        'xendomains restored the one: it never booted',
        async () => equal(await guestBoot('dom0-1'), boots.get('dom0-1')),
      ],
      ['and started the other anew', async () => notEqual(await guestBoot('dom0-2'), boots.get('dom0-2'))],
      [
        'with the addresses and MACs of before, and nothing was held',
        async () => {
          for (const host of lab.hosts) await waitForState(lab, host, 'running', GUEST_MS);
          deepEqual(await addresses(lab), before);
          for (const { address, mac } of before.values()) {
            equal(await isPinged(lab, address), true);
            const { stdout } = await lab.frontend.run(['ip', 'neigh', 'show', address]);
            equal(stdout.toLowerCase().includes(mac), true, `${address}: ${stdout}`);
          }
          for (const host of lab.hosts)
            equal(await lab.must(host, 'ls /var/lib/domherd/held 2>/dev/null | wc -l'), '0\n');
          equal(await domherd(lab, 'conflict list -o json'), '[]\n');
        },
      ],
    ];
  },
};
