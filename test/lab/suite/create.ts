import { deepEqual, equal, match } from 'node:assert/strict';
import { domherd, hostsAreBack, vms } from './cli.js';
import { domains } from './guest.js';
import type { Group } from './group.js';
import { join } from './join.js';

const NAMES = ['web-1', 'web-2', 'web-3', 'web-4'];
const WEB = NAMES.join(' ');

/** VMs that are copies of the image's own. */
export const create: Group = {
  name: 'create',
  after: join,
  steps: (lab) => {
    const files = (): Promise<readonly string[]> =>
      Promise.all(lab.hosts.map((host) => lab.must(host, 'find /etc/xen /opt/xen -type f -printf "%p %s\\n" | sort')));
    const images = (): Promise<readonly string[]> =>
      Promise.all(lab.hosts.map((host) => lab.must(host, 'sha256sum /opt/xen/domU/*.img /etc/xen/domU.cfg')));
    let before: readonly (readonly string[])[] = [];
    return [
      hostsAreBack(lab),
      [
        'vm create makes four, two on each dom0, each with an address; the image is as it was',
        async () => {
          before = [await files(), await images()];
          await domherd(lab, 'vm create web --count 4 --like domU --memory 96');
          const made = (await vms(lab)).filter(({ name }) => NAMES.includes(name));
          deepEqual(made.map(({ host }) => host).sort(), lab.hosts.flatMap((host) => [host, host]).sort());
          equal(new Set(made.map(({ vifs }) => vifs[0]?.lease?.address)).size, 4);
          deepEqual(await images(), before[1]);
          for (const host of lab.hosts) {
            await lab.must(host, 'for disk in /opt/xen/web-*/disk.img; do e2fsck -fn $disk || exit 1; done');
          }
        },
      ],
      [
        'they start and answer ping and ssh',
        async () => {
          await domherd(lab, `vm start ${WEB}`);
          await domherd(lab, `vm wait ${WEB} --for=ping --timeout 5m`);
          await domherd(lab, `vm wait ${WEB} --for=ssh --timeout 5m`);
          for (const host of lab.hosts) equal((await domains(lab, host)).length, 2);
        },
      ],
      [
        'vm run finds each by its own name, and vm ssh logs in',
        async () => {
          const said = await domherd(lab, `vm run ${WEB} -- hostname`);
          for (const name of NAMES) match(said, new RegExp(`^-+\\n${name}\\n-+\\n${name}$`, 'm'));
          equal(await domherd(lab, 'vm ssh web-3 -- hostname'), 'web-3\n');
          match(await domherd(lab, `vm run ${WEB} -- uname -s`), /^-+\nweb-\[1-4\] \(4\)\n-+\nLinux\n$/);
        },
      ],
      [
        'vm delete leaves nothing of them, and the dom0s as they were',
        async () => {
          await domherd(lab, `vm shutdown ${WEB} --timeout 3m --then destroy`);
          await domherd(lab, `vm delete ${WEB} --yes`);
          deepEqual([await files(), await images()], before);
          equal((await vms(lab)).length, 2);
          const leases = JSON.parse(await domherd(lab, 'lease list -o json')) as readonly { readonly state: string }[];
          deepEqual([...new Set(leases.map(({ state }) => state))], ['quarantined']);
        },
      ],
    ];
  },
};
