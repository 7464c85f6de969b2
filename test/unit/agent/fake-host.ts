// An async function of a fake turns what it throws into a rejection, as the real one's do.
/* eslint-disable @typescript-eslint/require-await */
import { Readable } from 'node:stream';
import { pino } from 'pino';
import { RecordCopyLog } from '../../../agent/adapters/disk/record-copy-log.js';
import { RecordRenameLog } from '../../../agent/adapters/disk/record-rename-log.js';
import { RecordRestartLog } from '../../../agent/adapters/disk/record-restart-log.js';
import type { RestartLog } from '../../../agent/ports/restart-log.js';
import { VmRenamer } from '../../../agent/services/rename-vm.js';
import { RecordArrivals } from '../../../agent/adapters/disk/record-arrivals.js';
import { RecordFormerCfgs } from '../../../agent/adapters/disk/record-former-cfgs.js';
import { makeCarryOut } from '../../../agent/services/carry-out.js';
import type { VmConfigurer } from '../../../agent/services/configure-vm.js';
import { VmSetter } from '../../../agent/services/vm-setter.js';
import type { ConsoleServer } from '../../../agent/services/console-server.js';
import { VmCopier } from '../../../agent/services/copy-vm.js';
import { VmReceiver } from '../../../agent/services/receive-vm.js';
import { VmSender } from '../../../agent/services/send-vm.js';
import type { TransferLink } from '../../../agent/ports/transfer-link.js';
import { LiveMigrator } from '../../../agent/services/live-migrator.js';
import type { LiveMover } from '../../../agent/ports/live-mover.js';
import { VmLooker } from '../../../agent/services/vm-looker.js';
import { VmMaker } from '../../../agent/services/vm-maker.js';
import { Observer } from '../../../agent/services/observe.js';
import type { CarryOut } from '../../../agent/services/order-runner.js';
import { ManualClock } from './manual-clock.js';
import { MemoryRecordStore } from '../../fakes/memory-record-store.js';
import { AppError, notFound } from '../../../shared/errors.js';
import type { HostBridges } from '../../../shared/domain/bridge.js';
import type { HostStore } from '../../../shared/domain/host-store.js';
import type { DiskOfVm, HostStores } from '../../../agent/ports/host-stores.js';
import type { Ipv4 } from '../../../shared/domain/ipv4.js';
import type { Mac } from '../../../shared/domain/mac.js';
import type { GuestSettings, OrderResult } from '../../../agent/domain/order.js';
import type { Resize } from '../../../agent/domain/set-plan.js';
import type { Domain, DomainLimits } from '../../../agent/domain/vm.js';
import type { Autostart } from '../../../agent/ports/autostart.js';
import type { Bridges } from '../../../agent/ports/bridges.js';
import type { CfgFile, CfgFolder } from '../../../agent/ports/cfg-folder.js';
import type { DiskSize, NewDisk, StoredDisk } from '../../../agent/domain/new-disk.js';
import type { DiskKind, StorageFacts } from '../../../agent/domain/storage-choice.js';
import type { DiskQuestion, DiskStore, Room } from '../../../agent/ports/disk-store.js';
import type { SeedMaker } from '../../../agent/ports/seed-maker.js';
import type { BootFiles } from '../../../agent/ports/boot-files.js';
import type { HostImages } from '../../../agent/ports/host-images.js';
import type { Installer } from '../../../agent/ports/installer.js';
import { VmImager } from '../../../agent/services/vm-imager.js';
import type { Guest, GuestChange, GuestDisk, GuestNetwork } from '../../../agent/ports/guest-disk.js';
import type { HostReport } from '../../../agent/ports/host-report.js';
import type { OrderJournal } from '../../../agent/ports/order-journal.js';
import type { DomainSample, Toolstack } from '../../../agent/ports/toolstack.js';
import type { WireAnswer, WireProbe } from '../../../agent/ports/wire-probe.js';

/** A host in memory; each part does what it is told, at once, and keeps a list of what it was asked. */
/** Nothing goes, and nothing comes. */
const NO_MOVER: LiveMover = {
  offer: () => Promise.reject(new AppError('unavailable', 'nothing goes')),
  admit: () => Promise.reject(new AppError('unavailable', 'nothing comes')),
  handOver: () => Promise.reject(new AppError('unavailable', 'nothing goes')),
  closeArrival: () => Promise.resolve(),
  closeDeparture: () => Promise.resolve(),
  recover: () => Promise.resolve(),
};

export class FakeHost implements Toolstack, CfgFolder, GuestDisk, WireProbe, HostReport, Bridges, HostStores {
  readonly isSimulated = true;
  readonly calls: string[] = [];
  readonly files = new Map<string, string>();
  readonly path = '/xen';
  readonly domains = new Map<string, Domain>();
  /** By name; else a domain can have what it has. */
  readonly limits = new Map<string, DomainLimits>();
  /** Paths of the cfgs that are started when the host boots. */
  readonly started = new Set<string>();
  readonly autostart: Autostart = {
    list: async () => new Set(this.started),
    set: async (cfgPath, isOn) => void (isOn ? this.started.add(cfgPath) : this.started.delete(cfgPath)),
  };
  /** What every console said. */
  consoleLog: Uint8Array | AppError = new Uint8Array();
  readonly guests = new Map<string, GuestNetwork>();
  /** The guests of which a change is open, as they were. */
  readonly openGuests = new Map<string, GuestNetwork | undefined>();
  /** The guests as they were before the first write that stood; those whose restore is open. */
  readonly originalGuests = new Map<string, GuestNetwork | undefined>();
  readonly restoredGuests = new Set<string>();
  readonly wire = new Map<Ipv4, Mac>();
  /** By what is asked, such as `write`; with ` late` behind it, it is done and then fails. */
  readonly faults = new Map<string, AppError>();
  /** What the guest's disk says after a write, if it lies. */
  isDiskDeaf = false;
  warnings: readonly string[] = [];
  bridges = bridgesOf('eth0');
  mover: LiveMover = NO_MOVER;
  stores: readonly HostStore[] = [];
  /** Where the wire was asked. */
  readonly probed: (string | undefined)[] = [];

  #call(name: string): void {
    this.calls.push(name);
    this.#fail(name);
  }

  #fail(name: string): void {
    const fault = this.faults.get(name);
    if (fault !== undefined) throw fault;
  }

  addVm(name: string, vif = 'mac=00:16:3e:00:00:01, bridge=eth0'): string {
    const path = `/xen/${name}.cfg`;
    this.files.set(path, `name = '${name}'\nmemory = 256\nvif = [ '${vif}' ]\n`);
    return path;
  }

  readonly domids = new Map<string, number>();

  async domidOf(name: string): Promise<number> {
    return this.domids.get(name) ?? 0;
  }

  async listDomains(): Promise<readonly Domain[]> {
    this.#call('listDomains');
    return [...this.domains.values()];
  }

  async create(cfgPath: string): Promise<void> {
    this.#call('create');
    const name = /name = '(.*)'/.exec(this.files.get(cfgPath) ?? '')?.[1] ?? '';
    this.domains.set(name, { name, uuid: `uuid-${name}`, state: 'running', memoryMib: 256, vcpus: 1 });
    this.domids.set(name, (this.domids.get(name) ?? 0) + 1);
  }

  async shutdown(name: string, timeoutSeconds: number): Promise<void> {
    this.#call(`shutdown ${timeoutSeconds}`);
    this.domains.delete(name);
  }

  async destroy(name: string): Promise<void> {
    this.#call('destroy');
    this.domains.delete(name);
  }

  async reboot(name: string, timeoutSeconds: number): Promise<void> {
    this.#call(`reboot ${timeoutSeconds}`);
    this.#put(name, { uuid: `again-${name}` });
  }

  async pause(name: string): Promise<void> {
    this.#call('pause');
    this.#put(name, { state: 'paused' });
  }

  async unpause(name: string): Promise<void> {
    this.#call('unpause');
    this.#put(name, { state: 'running' });
  }

  #put(name: string, change: Partial<Domain>): void {
    const domain = this.domains.get(name);
    if (domain !== undefined) this.domains.set(name, { ...domain, ...change });
  }

  async sample(): Promise<readonly DomainSample[]> {
    const fault = this.faults.get('sample');
    if (fault !== undefined) throw fault;
    const zero = {
      sampledAtMs: 0,
      cpuSeconds: 1,
      cpuPercent: 5,
      memoryMib: 256,
      rxBytes: 2,
      txBytes: 3,
      diskReadBytes: 4,
      diskWrittenBytes: 5,
    };
    return [...this.domains.keys()].map((name) => ({ name, metrics: zero }));
  }

  async readLimits(name: string): Promise<DomainLimits> {
    const { memoryMib = 0, vcpus = 0 } = this.domains.get(name) ?? {};
    return this.limits.get(name) ?? { memoryMib, vcpus };
  }

  async resize(name: string, to: Resize): Promise<void> {
    this.#call(`resize ${JSON.stringify(to)}`);
    this.#put(name, to as Partial<Domain>);
  }

  watch(): () => void {
    return () => undefined;
  }

  async list(): Promise<readonly CfgFile[]> {
    return [...this.files].map(([path, text]) => ({ kind: 'text', path, text }));
  }

  survey(): Promise<readonly CfgFile[]> {
    return this.list();
  }

  // CfgFolder and GuestDisk both have a read(): a path is a file, anything else a guest.
  read(path: string): Promise<string>;
  read(guest: Guest): Promise<GuestNetwork | undefined>;
  async read(what: string | Guest): Promise<string | GuestNetwork | undefined> {
    if (typeof what !== 'string') return this.guests.get(what.cfgPath);
    const text = this.files.get(what);
    if (text === undefined) throw notFound(`no ${what}`);
    return text;
  }

  async replace(path: string, before: string, after: string): Promise<void> {
    this.#call('replace');
    if (this.files.get(path) !== before) throw new AppError('raced', 'changed');
    this.files.set(path, after);
    this.#fail('replace late');
  }

  async add(path: string, text: string): Promise<void> {
    this.#call('add');
    if (this.files.has(path)) throw new AppError('already_exists', path);
    this.files.set(path, text);
    this.#fail('add late');
  }

  async remove(path: string, before: string): Promise<void> {
    this.#call('remove');
    const now = this.files.get(path);
    if (now !== undefined && now !== before) throw new AppError('raced', 'changed');
    this.files.delete(path);
  }

  async move(from: string, to: string): Promise<void> {
    this.#call('move');
    const text = this.files.get(from);
    if (text === undefined && this.files.has(to)) return;
    if (text === undefined) throw notFound(`no ${from}`);
    if (this.files.has(to)) throw new AppError('already_exists', to);
    this.files.delete(from);
    this.files.set(to, text);
  }

  async follow(from: string, to: string): Promise<void> {
    this.#call('follow');
    for (const guests of [this.guests, this.originalGuests]) {
      if (!guests.has(from)) continue;
      guests.set(to, guests.get(from));
      guests.delete(from);
    }
  }

  async renew({ cfgPath }: Guest): Promise<readonly string[]> {
    this.#call('renew');
    this.guests.set(cfgPath, { addresses: new Map(), hostname: 'renewed' });
    this.#fail('renew late');
    return this.warnings;
  }

  async grow(): Promise<void> {
    this.#call('grow');
    return Promise.resolve();
  }

  async forget(cfgPath: string): Promise<void> {
    this.#call('forget');
    this.guests.delete(cfgPath);
  }

  async write(guest: Guest, settings: GuestSettings): Promise<GuestChange> {
    this.#call('write');
    this.openGuests.set(guest.cfgPath, this.guests.get(guest.cfgPath));
    const addresses = new Map(settings.vifs.map((vif) => [vif.index, vif.address]));
    if (!this.isDiskDeaf) this.guests.set(guest.cfgPath, { addresses, hostname: settings.hostname });
    this.#fail('write late');
    return this.#changeOf(guest.cfgPath);
  }

  async restore({ cfgPath }: Guest): Promise<GuestChange | undefined> {
    this.#call('restore');
    if (!this.originalGuests.has(cfgPath)) return undefined;
    this.openGuests.set(cfgPath, this.guests.get(cfgPath));
    this.restoredGuests.add(cfgPath);
    this.#putGuest(cfgPath, this.originalGuests.get(cfgPath));
    this.#fail('restore late');
    return this.#changeOf(cfgPath);
  }

  #putGuest(cfgPath: string, guest: GuestNetwork | undefined): void {
    if (guest === undefined) this.guests.delete(cfgPath);
    else this.guests.set(cfgPath, guest);
  }

  async findOpen(cfgPath: string): Promise<GuestChange | undefined> {
    return this.openGuests.has(cfgPath) ? this.#changeOf(cfgPath) : undefined;
  }

  #changeOf(cfgPath: string): GuestChange {
    return {
      warnings: this.warnings,
      keep: async () => {
        this.#call('keep');
        if (!this.openGuests.has(cfgPath)) return;
        if (this.restoredGuests.delete(cfgPath)) this.originalGuests.delete(cfgPath);
        else if (!this.originalGuests.has(cfgPath)) this.originalGuests.set(cfgPath, this.openGuests.get(cfgPath));
        this.openGuests.delete(cfgPath);
      },
      undo: async () => {
        this.#call('undo');
        if (!this.openGuests.has(cfgPath)) return;
        this.#putGuest(cfgPath, this.openGuests.get(cfgPath));
        this.openGuests.delete(cfgPath);
        this.restoredGuests.delete(cfgPath);
      },
    };
  }

  async probe(address: Ipv4, bridge: string | undefined): Promise<WireAnswer> {
    this.#call('probe');
    this.probed.push(bridge);
    const mac = this.wire.get(address);
    return mac === undefined ? { kind: 'silent' } : { kind: 'answered', mac };
  }

  async readBridges(): Promise<HostBridges> {
    const fault = this.faults.get('readBridges');
    if (fault !== undefined) throw fault;
    return this.bridges;
  }

  async readStores(disks: readonly DiskOfVm[], isFresh: boolean): Promise<readonly HostStore[]> {
    this.#fail('readStores');
    if (isFresh) this.calls.push('ask LVM');
    const found = disks.map(({ vmKey, path }) => ({ vmKey, path, sizeBytes: 1, usedBytes: 1 }));
    return this.stores.map((store) => ({ ...store, disks: found }));
  }

  async readFacts(): ReturnType<HostReport['readFacts']> {
    const versions = { agentVersion: '1', nodeVersion: '20', kernel: 'k', xenVersion: '' };
    return { ...versions, cpus: 2, memoryMib: 1000, memoryFreeMib: 500, bootId: 'b' };
  }

  async readMemoryFreeMib(): Promise<number> {
    return 500;
  }
}

/** Bridges of these names, the first one with an uplink and dom0's address. */
export function bridgesOf(...names: string[]): HostBridges {
  const bridges = names.map((name, n) => ({
    ...{ name, members: n === 0 ? ['peth0'] : [], uplinks: n === 0 ? ['peth0'] : [] },
    ...{ addresses: n === 0 ? ['10.0.0.1/8'] : [], isUp: true },
  }));
  return { bridges, xlBridge: undefined, xlScript: undefined };
}

export class MemoryJournal implements OrderJournal {
  readonly results: OrderResult[] = [];
  fault: AppError | undefined;

  async load(): Promise<readonly OrderResult[]> {
    return this.results;
  }

  async append(result: OrderResult): Promise<void> {
    if (this.fault !== undefined) throw this.fault;
    this.results.push(result);
  }
}

/** Disks by path, with their bytes. */
export class FakeDisks implements DiskStore {
  readonly sizes = new Map<string, number>();
  free = 2 ** 40;
  readonly faults = new Map<string, AppError>();

  async find(path: string): Promise<DiskSize | undefined> {
    const sizeBytes = this.sizes.get(path);
    return sizeBytes === undefined ? undefined : { sizeBytes, usedBytes: sizeBytes };
  }

  async survey({ disks }: DiskQuestion): Promise<StorageFacts> {
    const kind: DiskKind = { kind: 'file', canReflink: false };
    const present = disks.filter(({ path }) => this.sizes.has(path));
    return {
      disks: new Map(present.map(({ path }) => [path, kind])),
      swaps: new Set(),
      groups: [],
      overlayRefusal: undefined,
    };
  }

  async roomFor(): Promise<Room> {
    return { store: 'fake', freeBytes: this.free };
  }

  async make({ source, place: { path }, sizeBytes }: NewDisk): Promise<void> {
    if (this.sizes.has(path)) throw new AppError('already_exists', path);
    const length = 'bytes' in source ? source.bytes : (this.sizes.get(source.path) ?? 0);
    this.sizes.set(path, Math.max(length, sizeBytes ?? 0));
    const fault = this.faults.get('make');
    if (fault !== undefined) throw fault;
  }

  async remove({ path }: StoredDisk): Promise<boolean> {
    this.sizes.delete(path);
    return true;
  }
}

const nothing = (): never => {
  throw new AppError('internal', 'this host makes no VMs of images');
};
const noImages: HostImages = { acquire: nothing, clear: () => Promise.resolve() };
const noInstaller: Installer = { install: nothing, clear: () => Promise.resolve() };
const noSeeds: SeedMaker = { draft: nothing, read: nothing };
const noBootFiles: BootFiles = { exists: nothing, find: nothing };
const NO_PIECES: AsyncIterable<never> = {
  [Symbol.asyncIterator]: () => ({ next: () => Promise.resolve({ done: true, value: undefined }) }),
};
const NO_TRANSFERS: TransferLink = {
  send: () => Promise.reject(new AppError('unavailable', 'there is no controller')),
  receive: () => Promise.reject(new AppError('unavailable', 'there is no controller')),
};

/** What carries orders out on that host. */
export function carryOutOf(
  host: FakeHost,
  configurer: VmConfigurer,
  disks = new FakeDisks(),
  consoles: Pick<ConsoleServer, 'open'> = { open: () => Promise.resolve() },
  restarts: RestartLog = new RecordRestartLog(new MemoryRecordStore()),
): CarryOut {
  const copies = new RecordCopyLog(new MemoryRecordStore());
  const formerCfgs = new RecordFormerCfgs(new MemoryRecordStore());
  const log = pino({ level: 'silent' });
  const maker = new VmMaker({
    cfgFolder: host,
    guestDisk: host,
    formerCfgs,
    disks,
    copies,
    autostart: host.autostart,
    log,
  });
  const imager = new VmImager(
    {
      ...{ cfgFolder: host, disks, images: noImages, installer: noInstaller, bootFiles: noBootFiles },
      ...{ seeds: noSeeds, bridges: host },
    },
    maker,
  );
  const setter = new VmSetter({ cfgFolder: host, toolstack: host, autostart: host.autostart, configurer });
  const observer = new Observer(host, host, host, host.autostart);
  const files = { exists: () => Promise.resolve(true), read: () => NO_PIECES };
  const parts = {
    ...{ observer, cfgFolder: host, disks, diskContent: files, hostFiles: files, transfers: NO_TRANSFERS },
    ...{ bootFiles: noBootFiles, seeds: noSeeds, maker },
  };
  const transferring = { sender: new VmSender(parts), receiver: new VmReceiver(parts) };
  const copier = new VmCopier(parts);
  const means = { toolstack: host, configurer, copier, maker, imager, bridges: host };
  const openLog = async (): Promise<AsyncIterable<Uint8Array>> => {
    if (host.consoleLog instanceof AppError) throw host.consoleLog;
    return Readable.from([host.consoleLog]);
  };
  const renames = new RecordRenameLog(new MemoryRecordStore());
  const { autostart } = host;
  const renaming = { cfgFolder: host, guestDisk: host, formerCfgs, copies, autostart, renames, configurer, log };
  const looker = new VmLooker({ cfgFolder: host, disks, copies, consoles: { openLog }, clock: new ManualClock() });
  const arrivals = new RecordArrivals(new MemoryRecordStore());
  const world = { ...parts, toolstack: host, bridges: host, hostReport: host, maker, arrivals };
  const live = new LiveMigrator({ ...world, mover: host.mover });
  const renamer = new VmRenamer(renaming);
  return makeCarryOut({ observer, ...means, ...transferring, consoles, setter, looker, renamer, restarts, live });
}
