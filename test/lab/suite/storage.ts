import { equal, match } from 'node:assert/strict';
import { domherd, hostsAreBack, vms } from './cli.js';
import type { Group } from './group.js';
import { join } from './join.js';

interface StoreJson {
  readonly host: string;
  readonly store: string;
  readonly kind: string;
  readonly freeBytes: number;
  readonly recorded: boolean;
}

/** A volume group in a file of dom0, with the domU's disks as volumes. */
const MAKE_GROUP = [
  'truncate -s 400M /srv/pv.img',
  'loop=$(losetup --show -f /srv/pv.img)',
  'vgcreate -q vg0 $loop',
  'lvcreate -q -y -n domU-disk -L 64M vg0',
  'lvcreate -q -y -n domU-swap -L 16M vg0',
  'dd if=/opt/xen/domU/disk.img of=/dev/vg0/domU-disk bs=1M conv=fsync status=none',
  'dd if=/opt/xen/domU/swap.img of=/dev/vg0/domU-swap bs=1M conv=fsync status=none',
  "sed -i 's#file:/opt/xen/domU/\\(disk\\|swap\\).img#phy:/dev/vg0/domU-\\1#' /etc/xen/domU.cfg",
].join(' && ');

/** Disks that are logical volumes, in a real volume group. */
export const storage: Group = {
  name: 'storage',
  after: join,
  steps: (lab) => {
    const [host = ''] = lab.hosts;
    const volumes = (): Promise<string> => lab.must(host, 'lvs --noheadings -o lv_name,origin,lv_tags vg0 | sort');
    let before = '';
    return [
      hostsAreBack(lab),
      [
        'a volume group with the domU in it is listed, with its room; an environment is recorded with the root alone',
        async () => {
          await lab.must(host, MAKE_GROUP);
          before = await volumes();
          await lab.must(host, 'systemctl restart domherd-agent');
          await hostsAreBack(lab)[1]();
          const stores = JSON.parse(await domherd(lab, `disk list --host ${host} -o json`)) as readonly StoreJson[];
          const group = stores.find(({ store }) => store === 'vg0');
          equal(group?.kind, 'volume group');
          equal(group.recorded, false);
          equal(stores.find(({ store }) => store === '/')?.recorded, true);
          return `${String(group.freeBytes / 1024 / 1024)} MiB free`;
        },
      ],
      [
        'a copy of it is a snapshot, without being asked for, and has all that it may ever need',
        async () => {
          await domherd(lab, `vm create snap --like domU@${host} --memory 96`);
          const after = await volumes();
          match(after, /snap-disk +domU-disk +domherd/);
          match(after, /snap-swap +domU-swap +domherd/);
          match(await lab.must(host, 'cat /etc/xen/snap.cfg'), /phy:\/dev\/vg0\/snap-disk,xvda2,w/);
          await lab.must(host, 'e2fsck -fn /dev/vg0/snap-disk');
        },
      ],
      [
        'it starts and is logged into',
        async () => {
          await domherd(lab, 'vm start snap');
          await domherd(lab, 'vm wait snap --for=ssh --timeout 5m');
          equal(await domherd(lab, 'vm ssh snap -- hostname'), 'snap\n');
        },
      ],
      [
        'deleted it leaves the volumes as they were',
        async () => {
          await domherd(lab, 'vm shutdown snap --timeout 3m --then destroy');
          await domherd(lab, 'vm delete snap --yes');
          equal(await volumes(), before);
          equal((await vms(lab)).filter(({ name }) => name === 'snap').length, 0);
        },
      ],
      [
        'what does not fit is refused before anything is made, and overlays where there is no device model',
        async () => {
          const full = await lab.frontend.domherd(
            `vm create many --count 8 --like domU@${host} --memory 16`.split(' '),
            {},
          );
          equal(full.exitCode, 7, full.stderr);
          const overlay = await lab.frontend.domherd(
            `vm create over --like domU@${host} --memory 96 --storage qcow2`.split(' '),
            {},
          );
          match(overlay.stderr, /logical volume/);
          equal(await volumes(), before);
        },
      ],
    ];
  },
};
