import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import { DirAutostart } from '../../agent/adapters/disk/dir-autostart.js';
import { Dom0DiskContent } from '../../agent/adapters/disk/dom0-disk-content.js';
import { dom0Files } from '../../agent/adapters/disk/dom0-files.js';
import { DirRecordStore } from '../../agent/adapters/disk/dir-record-store.js';
import { HostDiskStore } from '../../agent/adapters/disk/host-disk-store.js';
import { RecordCopyLog } from '../../agent/adapters/disk/record-copy-log.js';
import { RecordFormerCfgs } from '../../agent/adapters/disk/record-former-cfgs.js';
import { KernelDiskUse } from '../../agent/adapters/guest/disk-use.js';
import { SeedGuestDisk } from '../../agent/adapters/guest/seed-guest-disk.js';
import { SeedTools } from '../../agent/adapters/guest/seed-tools.js';
import { Dom0BootFiles } from '../../agent/adapters/xl/dom0-boot-files.js';
import { DiskViews } from '../../agent/adapters/guest/disk-view.js';
import type { Domain } from '../../agent/domain/vm.js';
import type { GuestDisk } from '../../agent/ports/guest-disk.js';
import type { Toolstack } from '../../agent/ports/toolstack.js';
import type { TransferLink } from '../../agent/ports/transfer-link.js';
import { Observer } from '../../agent/services/observe.js';
import { VmReceiver } from '../../agent/services/receive-vm.js';
import { VmSender } from '../../agent/services/send-vm.js';
import { VmMaker, type VmMakerParts } from '../../agent/services/vm-maker.js';
import { createExec, type Exec } from '../../shared/exec.js';
import { makeConfigureRig } from './configure-rig.js';
import { DEBIAN, makeImage } from './guest-image.js';

export const GUEST = {
  ...DEBIAN,
  '/etc/ssh/ssh_host_ed25519_key': { text: 'an old key\n', mode: 0o600 },
  '/etc/ssh/ssh_host_ed25519_key.pub': 'ssh-ed25519 old root@domU\n',
  '/etc/machine-id': '0123456789abcdef0123456789abcdef\n',
};

const FOLDERS = ['xen', 'domains', 'copies', 'guest-changes', 'guest-originals', 'cfg-originals', 'renames'];

export interface CarryDom0 {
  readonly root: string;
  readonly domains: Domain[];
  readonly observer: Observer;
  readonly makerParts: VmMakerParts;
  readonly maker: (change?: Partial<VmMakerParts>) => VmMaker;
  readonly sender: VmSender;
  readonly receiver: (by?: VmMaker) => VmReceiver;
  readonly cfgOf: (name: string) => string;
  /** All that it has, but for backups. */
  readonly files: () => readonly string[];
}

/** One of two dom0s that send VMs to each other: everything below `root` is its own. */
export function makeCarryDom0(root: string, transfers: TransferLink, exec: Exec = createExec(process.env)): CarryDom0 {
  for (const folder of ['xen', 'domains']) mkdirSync(join(root, folder), { recursive: true });
  const rig = makeConfigureRig(root, exec, undefined, seedGuestDisk(root, exec));
  const views = new DiskViews({ exec, use: new KernelDiskUse(), workFolder: join(root, 'views') });
  const disks = new HostDiskStore(exec, views, []);
  const domains: Domain[] = [];
  const toolstack = { listDomains: () => Promise.resolve(domains) } as Partial<Toolstack> as Toolstack;
  const observer = new Observer(toolstack, rig.cfgFolder, rig.guestDisk);
  const makerParts: VmMakerParts = {
    ...{ cfgFolder: rig.cfgFolder, guestDisk: rig.guestDisk, disks, log: pino({ level: 'silent' }) },
    formerCfgs: new RecordFormerCfgs(rig.originals),
    autostart: new DirAutostart(join(root, 'xen', 'auto')),
    copies: new RecordCopyLog(new DirRecordStore(join(root, 'copies'))),
  };
  const files = { diskContent: new Dom0DiskContent(views), hostFiles: dom0Files };
  const seeds = new SeedTools(exec, join(root, 'work'));
  const bootFiles = new Dom0BootFiles('/', '6.1.0');
  const parts = { observer, cfgFolder: rig.cfgFolder, disks, transfers, seeds, bootFiles, ...files };
  const maker = (change: Partial<VmMakerParts> = {}): VmMaker => new VmMaker({ ...makerParts, ...change });
  return {
    ...{ root, domains, observer, makerParts, maker },
    sender: new VmSender(parts),
    receiver: (by: VmMaker = maker()) => new VmReceiver({ ...parts, maker: by }),
    cfgOf: (name: string) => join(root, 'xen', `${name}.cfg`),
    files: (): readonly string[] =>
      FOLDERS.flatMap((folder) =>
        existsSync(join(root, folder)) ? readdirSync(join(root, folder), { recursive: true }).map(String).sort() : [],
      ),
  };
}

/** What a dom0 reads and writes guests with: those that have a seed by that. */
export function seedGuestDisk(root: string, exec: Exec): (files: GuestDisk) => GuestDisk {
  return (files) =>
    new SeedGuestDisk({
      ...{ files, tools: new SeedTools(exec, join(root, 'work')), use: new KernelDiskUse() },
      changes: new DirRecordStore(join(root, 'seed-changes')),
      originals: new DirRecordStore(join(root, 'seed-originals')),
    });
}

/** The tutorial's domU, with a root disk and a swap disk of zeros. @returns its cfg */
export function addDomU({ root, cfgOf }: CarryDom0, extra = ''): string {
  const folder = join(root, 'domains', 'domU');
  mkdirSync(folder);
  makeImage(join(folder, 'disk.img'), GUEST, { size: '24M' });
  writeFileSync(join(folder, 'swap.img'), Buffer.alloc(1024 * 1024));
  const kernel = join(root, 'vmlinuz');
  writeFileSync(kernel, 'a kernel');
  const cfg = `# the tutorial's own
name='domU'
memory=256
kernel='${kernel}'
disk=['file:${folder}/disk.img,xvda2,w', 'file:${folder}/swap.img,xvda1,w']
root='/dev/xvda2 ro'
vif=['mac=00:16:3e:1e:5b:0c']
${extra}`;
  writeFileSync(cfgOf('domU'), cfg);
  return cfg;
}
