import { deepEqual, equal, match, notEqual } from 'node:assert/strict';
import { waitFor, type Lab } from '../lab.js';
import { addressByHand, domains, GUEST_MS, inGuest, isPinged, waitForGuest } from './guest.js';
import type { Group } from './group.js';

const ADDRESS = '10.180.0.1';

/** The same command on every dom0. */
function onEach(lab: Lab, line: string): Promise<readonly string[]> {
  return Promise.all(lab.hosts.map((host) => lab.must(host, line)));
}

async function differ(lab: Lab, line: string): Promise<void> {
  const [one, other] = await onEach(lab, line);
  match(one ?? '', /\S/);
  notEqual(one, other);
}

/** The lab itself: real Xen, two different machines of one image, and a guest that does what a guest must. */
export const baseline: Group = {
  name: 'lab',
  unnamed: 'of-new-images',
  steps: (lab) => [
    [
      'both dom0s run on Xen, and nothing runs on them',
      async () => {
        for (const info of await onEach(lab, 'xl info')) match(info, /xen_version +: 4\.17/);
        for (const host of lab.hosts) deepEqual(await domains(lab, host), []);
        deepEqual(await onEach(lab, 'systemctl is-system-running'), ['running\n', 'running\n']);
      },
    ],
    [
      'no Node and no domherd is on a dom0',
      async () => {
        const found = await onEach(lab, 'command -v node; find / -xdev -iname "*domherd*" -not -path "/proc/*"');
        deepEqual(found, ['', '']);
      },
    ],
    ['machine ids differ', () => differ(lab, 'cat /etc/machine-id')],
    ['DMI UUIDs differ', () => differ(lab, 'cat /sys/class/dmi/id/product_uuid')],
    ['root file systems differ', () => differ(lab, 'dumpe2fs -h /dev/vda 2>/dev/null | grep UUID')],
    ['ssh host keys differ', () => differ(lab, 'cat /etc/ssh/ssh_host_*_key.pub | cut -d " " -f 2')],
    ['MACs of eth0 differ', () => differ(lab, 'cat /sys/class/net/eth0/address')],
    [
      'the image gave both the same domU, with the same MAC',
      async () => {
        const [one, other] = await onEach(lab, 'cat /etc/xen/domU.cfg');
        equal(one, other);
        match(one ?? '', /mac=00:16:3E:11:22:33/);
      },
    ],
    [
      'xendomains starts, saves and restores',
      async () => {
        await onEach(lab, 'systemctl is-enabled xendomains && systemctl is-active xendomains');
        for (const file of await onEach(lab, 'cat /etc/default/xendomains')) {
          match(file, /^XENDOMAINS_SAVE=\/var\/lib\/xen\/save$/m);
          match(file, /^XENDOMAINS_RESTORE=true$/m);
        }
      },
    ],
    [
      'the clocks are right, and two machines of one snapshot draw different random numbers',
      async () => {
        for (const now of await onEach(lab, 'date +%s')) equal(Math.abs(Number(now) - Date.now() / 1000) < 10, true);
        await differ(lab, 'head -c 16 /dev/urandom | od -An -tx1');
      },
    ],
    [
      'one machine of one snapshot draws different random numbers each time',
      async () => {
        const [before] = await onEach(lab, 'head -c 16 /dev/urandom | od -An -tx1');
        await lab.restore();
        const [after] = await onEach(lab, 'head -c 16 /dev/urandom | od -An -tx1');
        notEqual(after, before);
      },
    ],
    [
      'ssh of the frontend knows the dom0s by name',
      async () => {
        const { stdout } = await lab.frontend.run(['ssh', '-o', 'BatchMode=yes', 'dom0-2', 'hostname']);
        equal(stdout, 'dom0-2\n');
      },
    ],
    [
      'a domU that was given an address by hand answers ping and ssh',
      async () => {
        await addressByHand(lab, 'dom0-1', ADDRESS);
        await lab.must('dom0-1', 'xl create --quiet /etc/xen/domU.cfg');
        await waitFor(`ping of ${ADDRESS}`, () => isPinged(lab, ADDRESS), GUEST_MS);
        await waitForGuest(lab, ADDRESS);
        equal(await inGuest(lab, ADDRESS, 'hostname'), 'domU\n');
      },
    ],
    [
      'it obeys xl reboot',
      async () => {
        const before = await waitForGuest(lab, ADDRESS);
        await lab.must('dom0-1', 'xl reboot domU');
        const isAnother = async (): Promise<boolean> => (await waitForGuest(lab, ADDRESS)) !== before;
        await waitFor('the reboot of domU', isAnother, GUEST_MS, 1000);
      },
    ],
    [
      'it obeys xl shutdown, and its disk is clean then',
      async () => {
        await lab.must('dom0-1', 'xl shutdown -w domU', { limitMs: GUEST_MS });
        await waitFor('the end of domU', async () => (await domains(lab, 'dom0-1')).length === 0, 60_000);
        await lab.must('dom0-1', 'e2fsck -fn /opt/xen/domU/disk.img');
      },
    ],
  ],
};
