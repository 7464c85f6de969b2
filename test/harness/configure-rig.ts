import { join } from 'node:path';
import { pino } from 'pino';
import { parseIpv4 } from '../../shared/domain/ipv4.js';
import { parseMac } from '../../shared/domain/mac.js';
import type { Exec } from '../../shared/exec.js';
import { DirCfgFolder } from '../../agent/adapters/disk/dir-cfg-folder.js';
import { DirRecordStore } from '../../agent/adapters/disk/dir-record-store.js';
import { RecordFormerCfgs } from '../../agent/adapters/disk/record-former-cfgs.js';
import { RecordIntentLog } from '../../agent/adapters/disk/record-intent-log.js';
import { KernelDiskUse } from '../../agent/adapters/guest/disk-use.js';
import { E2fsGuestDisk } from '../../agent/adapters/guest/e2fs-guest-disk.js';
import { systemClock } from '../../agent/adapters/system/system-clock.js';
import type { GuestSettings } from '../../agent/domain/order.js';
import type { ObservedVm } from '../../agent/domain/vm.js';
import type { Bridges } from '../../agent/ports/bridges.js';
import type { CfgFolder } from '../../agent/ports/cfg-folder.js';
import type { GuestDisk } from '../../agent/ports/guest-disk.js';
import type { RecordStore } from '../../agent/ports/record-store.js';
import { VmConfigurer } from '../../agent/services/configure-vm.js';

/** The folders of one dom0 with one VM, on real disks. */
export interface ConfigureRig {
  readonly cfgPath: string;
  readonly cfgFolder: CfgFolder;
  readonly intents: RecordStore;
  readonly changes: RecordStore;
  /** What is kept of the cfg. */
  readonly originals: RecordStore;
  readonly guestDisk: GuestDisk;
  readonly configurer: VmConfigurer;
  readonly bridges: Bridges;
}

export type WrapPorts = (ports: Pick<ConfigureRig, 'cfgFolder' | 'intents' | 'changes' | 'originals'>) => typeof ports;

/** What the agent of that dom0 is made of, as far as it changes VMs; `root` has `xen/domU.cfg`. */
export function makeConfigureRig(
  root: string,
  exec: Exec,
  wrap: WrapPorts = (ports) => ports,
  around: (files: GuestDisk) => GuestDisk = (files) => files,
): ConfigureRig {
  const ports = wrap({
    cfgFolder: new DirCfgFolder(join(root, 'xen'), join(root, 'backup'), systemClock),
    intents: new DirRecordStore(join(root, 'intents')),
    changes: new DirRecordStore(join(root, 'guest-changes')),
    originals: new DirRecordStore(join(root, 'cfg-originals')),
  });
  const files = new E2fsGuestDisk({
    exec,
    use: new KernelDiskUse(),
    changes: ports.changes,
    originals: new DirRecordStore(join(root, 'guest-originals')),
    workFolder: join(root, 'work'),
  });
  const guestDisk = around(files);
  const log = pino({ level: 'silent' });
  const host = { bridges: [BRIDGE], xlBridge: undefined, xlScript: undefined };
  const bridges: Bridges = { readBridges: () => Promise.resolve(host) };
  const configurer = new VmConfigurer({
    cfgFolder: ports.cfgFolder,
    guestDisk,
    wire: { probe: () => Promise.resolve({ kind: 'silent' }) },
    bridges,
    intents: new RecordIntentLog(ports.intents, log),
    formerCfgs: new RecordFormerCfgs(ports.originals),
    log,
  });
  return { ...ports, cfgPath: join(root, 'xen', 'domU.cfg'), guestDisk, configurer, bridges };
}

const BRIDGE = { name: 'br0', members: [], uplinks: [], addresses: [], isUp: true };

/** The n-th address, 0 to 255, with a MAC of its own. */
export function settingsOf(n: number): GuestSettings {
  const settings = {
    prefixLength: 14,
    broadcast: parseIpv4('10.183.255.255'),
    gateway: parseIpv4('10.183.255.254'),
    dns: [parseIpv4('172.16.16.247')],
    domain: 'grenoble.example',
  };
  const mac = parseMac(`00:16:3e:b4:00:${n.toString(16).padStart(2, '0')}`);
  const vif = { index: 0, mac, address: parseIpv4(`10.180.0.${n}`), settings, hasDefaultRoute: true };
  return { vifs: [vif], hostname: `vm${n}` };
}

export function stoppedVm(cfgPath: string): ObservedVm {
  const vif = { index: 0, mac: undefined, bridge: 'br0', guestAddress: undefined };
  const unknown = { uuid: undefined, problem: undefined, memoryMib: 0, vcpus: 0 };
  return { key: cfgPath, name: 'domU', cfgPath, state: 'stopped', vifs: [vif], ...unknown };
}
