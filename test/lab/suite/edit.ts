import { deepEqual, equal, match, notEqual } from 'node:assert/strict';
import { waitFor } from '../lab.js';
import { domherd, hostsAreBack, vms, waitForState } from './cli.js';
import { domains, GUEST_MS, inGuest, waitForGuest } from './guest.js';
import type { Group } from './group.js';
import { join } from './join.js';

/** Legal for xm, which ran it; xl refuses it. */
const PYTHON_CFG = `# written for xm
name = "old" + "VM"
memory = 64
vif = [ "mac=%s, bridge=xenbr0" % "00:16:3E:11:22:33" ]
`;
const TWO_VIFS = [
  "sed -e \"s/^name .*/name = 'two'/\" -e 's,/opt/xen/domU/,/opt/xen/two/,g'",
  "-e \"s/^vif .*/vif = [ 'mac=00:16:3E:11:22:33, bridge=xenbr0', 'bridge=xenbr0' ]/\" /etc/xen/domU.cfg > /etc/xen/two.cfg",
].join(' ');

/** A line a NIC: its MAC, then its address. */
const NICS =
  'for nic in /sys/class/net/eth*; do echo $(cat $nic/address) $(ip -o -4 address show dev ${nic##*/}); done';

/** What cfgs in the wild look like, and what is refused. */
export const edit: Group = {
  name: 'edit',
  after: join,
  steps: (lab) => {
    const isListed = (name: string) => async (): Promise<boolean> => (await vms(lab)).some((vm) => vm.name === name);
    return [
      hostsAreBack(lab),
      [
        'bridge list tells the bridge of each dom0, its uplink and its address',
        async () => {
          // An agent tells of its bridges a moment after its host is online.
          const areListed = async (): Promise<boolean> => {
            const list = await domherd(lab, 'bridge list');
            return lab.hosts.every((host, n) =>
              new RegExp(`^${host} +xenbr0 .*eth0.* 10\\.180\\.255\\.${String(n + 1)}/`, 'm').test(list),
            );
          };
          await waitFor('both bridges', areListed, 30_000);
        },
      ],
      [
        'a cfg in Python is shown with its problem, refused, and untouched',
        async () => {
          await lab.must('dom0-1', 'cat > /etc/xen/old.cfg', { input: PYTHON_CFG });
          await waitFor('old@dom0-1', isListed('old'), 60_000);
          const { exitCode, stderr, stdout } = await lab.frontend.domherd(['vm', 'address', 'old@dom0-1']);
          notEqual(exitCode, 0);
          match(stderr + stdout, /old\.cfg/);
          equal(await lab.must('dom0-1', 'cat /etc/xen/old.cfg'), PYTHON_CFG);
        },
      ],
      [
        'the start gate refuses the second of two VMs with one MAC',
        async () => {
          await domherd(lab, 'vm start domU@dom0-1');
          const refused = await lab.frontend.domherd(['vm', 'start', 'domU@dom0-2']);
          equal(refused.exitCode, 5, refused.stderr);
          match(refused.stdout + refused.stderr, /domU@dom0-1/);
          deepEqual(await domains(lab, 'dom0-2'), []);
          await domherd(lab, 'vm destroy domU@dom0-1 --yes');
          await waitForState(lab, 'dom0-1', 'stopped', 60_000);
        },
      ],
      [
        'a VM with two vifs gets two addresses and two MACs, in cfg and guest',
        async () => {
          await lab.must('dom0-2', `cp -r /opt/xen/domU /opt/xen/two && ${TWO_VIFS}`);
          await waitFor('two@dom0-2', isListed('two'), 60_000);
          await domherd(lab, 'vm address two@dom0-2');
          const two = (await vms(lab)).find(({ name }) => name === 'two');
          const leases = (two?.vifs ?? []).map(({ lease }) => ({
            address: lease?.address,
            mac: lease?.mac.toLowerCase(),
          }));
          equal(leases.length, 2);
          equal(new Set(leases.map(({ address }) => address)).size, 2);
          const cfg = (await lab.must('dom0-2', 'cat /etc/xen/two.cfg')).toLowerCase();
          for (const { mac } of leases) equal(cfg.split(mac ?? '-').length, 2, `${String(mac)} once in ${cfg}`);
          await domherd(lab, 'vm start two@dom0-2');
          await waitFor('the guest', () => waitForGuest(lab, leases[0]?.address ?? ''), GUEST_MS);
          const inside = (await inGuest(lab, leases[0]?.address ?? '', NICS)) ?? '';
          for (const { address, mac } of leases)
            match(inside, new RegExp(`^${mac ?? '-'} .* ${address ?? '-'}/14 `, 'm'));
        },
      ],
    ];
  },
};
