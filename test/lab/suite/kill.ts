import { deepEqual, equal } from 'node:assert/strict';
import { waitFor, type Lab } from '../lab.js';
import { addresses, domherd, hostsAreBack, vms, waitForHosts } from './cli.js';
import type { Group } from './group.js';
import { join } from './join.js';

const FILES = '/etc/xen/domU.cfg';
const DISK = '/opt/xen/domU/disk.img';
/** A file there for each VM that is being changed. */
const INTENTS = '/var/lib/domherd-agent/intents';

function cfgMac(lab: Lab, host: string): Promise<string> {
  return lab.must(host, `grep -o 'mac=[^,]*' ${FILES}`);
}

function guestAddress(lab: Lab, host: string): Promise<string> {
  return lab.must(
    host,
    `debugfs -R 'cat /etc/network/interfaces' ${DISK} 2>/dev/null | awk '$1 == "address" {print $2}'`,
  );
}

/** What domherd writes of a VM, with mode and owner of the guest's. */
function filesOf(lab: Lab, host: string): Promise<string> {
  const paths = ['network/interfaces', 'resolv.conf', 'hostname', 'hosts'].map((name) => `/etc/${name}`);
  const looks = paths.map((path) => {
    const facts = `debugfs -R 'stat ${path}' ${DISK} | grep -oE '(Mode|User|Group): +[0-9]+'`;
    return `echo ${path}; debugfs -R 'cat ${path}' ${DISK}; ${facts}`;
  });
  return lab.must(host, `cat ${FILES}; (${looks.join('; ')}) 2>/dev/null`);
}

/** By host. */
const found = new Map<string, string>();

/** An agent and the controller die in the middle of `vm address`: nothing is half done, and it can be done again. */
export const kill: Group = {
  name: 'kill',
  after: join,
  steps: (lab) => [
    hostsAreBack(lab),
    [
      'cfg and guest files are as the image has them',
      async () => {
        for (const host of lab.hosts) found.set(host, await filesOf(lab, host));
      },
    ],
    [
      'one agent and the controller are killed while both VMs get their addresses',
      async () => {
        const address = lab.frontend.domherd(['vm', 'address', '--all']);
        const isUnderWay = async (): Promise<boolean> => (await lab.must('dom0-1', `ls ${INTENTS}`)) !== '';
        await waitFor('the change of domU@dom0-1', isUnderWay, 60_000, 20);
        await lab.must('dom0-1', 'systemctl kill -s KILL domherd-agent');
        await lab.frontend.stopController('SIGKILL');
        await address;
        await lab.frontend.startController();
        await waitForHosts(lab);
      },
    ],
    [
      'cfg and guest of each are both old or both new',
      async () => {
        for (const host of lab.hosts) {
          await lab.must(host, `e2fsck -fn ${DISK}`);
          const isNewCfg = !/00:16:3e:11:22:33/i.test(await cfgMac(lab, host));
          const isNewGuest = (await guestAddress(lab, host)) !== '';
          equal(isNewGuest, isNewCfg, `${host}: new cfg ${String(isNewCfg)}, new guest ${String(isNewGuest)}`);
        }
      },
    ],
    [
      'asked again, each has one address of its own, and no lease is left over',
      async () => {
        await domherd(lab, 'vm address --all');
        const given = await addresses(lab);
        for (const host of lab.hosts) {
          equal((await guestAddress(lab, host)).trim(), given.get(host)?.address);
          equal((await cfgMac(lab, host)).trim().toLowerCase(), `mac=${given.get(host)?.mac ?? ''}`);
        }
        const leases = (await domherd(lab, 'lease list --state bound -o ips')).trim().split('\n');
        deepEqual(leases.toSorted(), [...given.values()].map(({ address }) => address).toSorted());
        equal(await domherd(lab, 'lease list --state pending -o ips'), '');
        equal((await vms(lab)).length, 2);
      },
    ],
    [
      'vm restore-files gives back cfg and guest files byte for byte, and the addresses',
      async () => {
        await domherd(lab, 'vm restore-files --all --yes');
        for (const host of lab.hosts) {
          equal(await filesOf(lab, host), found.get(host));
          await lab.must(host, `e2fsck -fn ${DISK}`);
        }
        equal(await domherd(lab, 'lease list --state bound -o ips'), '');
      },
    ],
  ],
};
