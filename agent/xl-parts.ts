import { mkdir, rm } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { AppError } from '../shared/errors.js';
import type { Exec, Follow } from '../shared/exec.js';
import { SysfsBridges } from './adapters/bridge/sysfs-bridges.js';
import { FileDeploymentRecord, FileEventBacklog, FileLeaseBook } from './adapters/disk/boot-record.js';
import { DirAutostart } from './adapters/disk/dir-autostart.js';
import { DirCfgFolder } from './adapters/disk/dir-cfg-folder.js';
import { DirIdentityStore } from './adapters/disk/dir-identity-store.js';
import { DirRecordStore } from './adapters/disk/dir-record-store.js';
import { Dom0DiskContent } from './adapters/disk/dom0-disk-content.js';
import { dom0Files } from './adapters/disk/dom0-files.js';
import { FileAgentRecord } from './adapters/disk/file-agent-record.js';
import { HostDiskStore } from './adapters/disk/host-disk-store.js';
import { SystemStores } from './adapters/disk/system-stores.js';
import { FileOrderJournal } from './adapters/disk/file-order-journal.js';
import { RecordArrivals } from './adapters/disk/record-arrivals.js';
import { RecordFormerCfgs } from './adapters/disk/record-former-cfgs.js';
import { RecordCopyLog } from './adapters/disk/record-copy-log.js';
import { RecordIntentLog } from './adapters/disk/record-intent-log.js';
import { RecordRenameLog } from './adapters/disk/record-rename-log.js';
import { RecordRestartLog } from './adapters/disk/record-restart-log.js';
import { RootAuthorizedKeys } from './adapters/disk/root-authorized-keys.js';
import { GrpcControllerLink } from './adapters/grpc/grpc-controller-link.js';
import { GrpcImageFeed } from './adapters/grpc/grpc-image-feed.js';
import { GrpcJoiner } from './adapters/grpc/grpc-joiner.js';
import { LazyTransferLink } from './adapters/grpc/lazy-transfer-link.js';
import { KernelDiskUse } from './adapters/guest/disk-use.js';
import { DiskViews, endLeftViews } from './adapters/guest/disk-view.js';
import { E2fsGuestDisk } from './adapters/guest/e2fs-guest-disk.js';
import { SeedGuestDisk } from './adapters/guest/seed-guest-disk.js';
import { SeedTools } from './adapters/guest/seed-tools.js';
import { FeedHostImages } from './adapters/image/feed-host-images.js';
import { HostInstaller } from './adapters/install/host-installer.js';
import { SystemDeployment } from './adapters/system/deployment.js';
import { nodeKeyMaker } from './adapters/system/node-key-maker.js';
import { systemClock } from './adapters/system/system-clock.js';
import { ArpingProbe } from './adapters/wire/arping-probe.js';
import { usualConsolePlaces, XlConsoles } from './adapters/xl/xl-consoles.js';
import { Dom0BootFiles } from './adapters/xl/dom0-boot-files.js';
import { findXenHost, type XenPlaces } from './adapters/xl/xen-host.js';
import { XlHostReport } from './adapters/xl/xl-host-report.js';
import { livePlaces, XlLiveMover } from './adapters/xl/xl-live-mover.js';
import { XlToolstack } from './adapters/xl/xl-toolstack.js';
import type { AgentParts } from './app.js';

export interface XlAgentOptions {
  /** Absolute; made if it is missing. */
  readonly stateDir: string;
  /** No other process has the state folder in use. */
  readonly isAlone: boolean;
  /** Of the cfg files, absolute: /etc/xen. */
  readonly xenDir: string;
  readonly places: XenPlaces;
  readonly exec: Exec;
  readonly follow: Follow;
  readonly log: Logger;
  /** What the host reports as its version: release and content, where `host add` installed it; left out: the release. */
  readonly build?: string | undefined;
}

/**
 * The parts of the agent of a Xen dom0: `new AgentApp(await openXlParts(options))`.
 *
 * @throws {AppError} `wrong_state` if this machine is none, or has no xl
 */
export async function openXlParts(options: XlAgentOptions): Promise<AgentParts> {
  const { stateDir, xenDir, places, exec, follow, log, build } = options;
  const host = await findXenHost(places);
  await mkdir(stateDir, { recursive: true, mode: 0o700 });
  const workFolder = join(stateDir, 'work');
  // What an agent that was killed left half made.
  if (options.isAlone) {
    await endLeftViews(exec, workFolder);
    await rm(workFolder, { recursive: true, force: true });
  }
  const clock = systemClock;
  const cfgFolder = new DirCfgFolder(xenDir, join(stateDir, 'backup'), clock);
  const hostReport = new XlHostReport({ exec, host, log, build });
  const toolstack = new XlToolstack({ host, exec, follow, cfgFolder, clock, log });
  toolstack.onDomains = () => hostReport.domainsChanged();
  const identities = new DirIdentityStore(stateDir, nodeKeyMaker);
  const use = new KernelDiskUse();
  // Not those of the guests' files: a transfer holds one as long as it takes, and nobody's look into a guest waits for it.
  const views = new DiskViews({ exec, use, workFolder });
  const seeds = new SeedTools(exec, workFolder);
  return {
    toolstack,
    cfgFolder,
    guestDisk: new SeedGuestDisk({
      files: new E2fsGuestDisk({
        exec,
        use,
        changes: new DirRecordStore(join(stateDir, 'guest-changes')),
        originals: new DirRecordStore(join(stateDir, 'guest-originals')),
        workFolder,
      }),
      tools: seeds,
      use,
      changes: new DirRecordStore(join(stateDir, 'seed-changes')),
      originals: new DirRecordStore(join(stateDir, 'seed-originals')),
    }),
    disks: new HostDiskStore(exec, views),
    stores: new SystemStores({ exec }),
    images: new FeedHostImages({
      ...{ feed: new GrpcImageFeed(identities), exec, clock, log },
      folder: join(stateDir, 'images'),
    }),
    installer: new HostInstaller({ exec, log, folder: join(stateDir, 'installs') }),
    bootFiles: new Dom0BootFiles(),
    seeds,
    diskContent: new Dom0DiskContent(views),
    hostFiles: dom0Files,
    copies: new RecordCopyLog(new DirRecordStore(join(stateDir, 'copies'))),
    mover: new XlLiveMover({
      ...{ exec, host, workFolder, random: Math.random, doorFolder: join(stateDir, 'doors') },
      ...{ domidOf: (name) => toolstack.domidOf(name), userOf: (path) => use.userOf(path) },
      keys: new RootAuthorizedKeys(join(userInfo().homedir, '.ssh')),
      places: livePlaces(),
    }),
    arrivals: new RecordArrivals(new DirRecordStore(join(stateDir, 'arrivals'))),
    wire: new ArpingProbe(exec, noBridge),
    bridges: new SysfsBridges({ xlConfPath: join(xenDir, 'xl.conf') }),
    autostart: new DirAutostart(join(xenDir, 'auto')),
    consoles: new XlConsoles(usualConsolePlaces(host.xenstoreSocket), clock),
    clock,
    link: new GrpcControllerLink(clock),
    joiner: new GrpcJoiner(),
    identities,
    transfers: new LazyTransferLink(identities),
    keys: nodeKeyMaker,
    hostReport,
    deployment: new SystemDeployment(exec),
    deploymentRecord: new FileDeploymentRecord(stateDir),
    leases: new FileLeaseBook(stateDir),
    backlog: new FileEventBacklog(stateDir),
    journal: new FileOrderJournal(join(stateDir, 'orders.journal')),
    record: new FileAgentRecord(stateDir),
    intents: new RecordIntentLog(new DirRecordStore(join(stateDir, 'intents')), log),
    renames: new RecordRenameLog(new DirRecordStore(join(stateDir, 'renames'))),
    restarts: new RecordRestartLog(new DirRecordStore(join(stateDir, 'restarts'))),
    formerCfgs: new RecordFormerCfgs(new DirRecordStore(join(stateDir, 'cfg-originals'))),
    random: Math.random,
    pid: process.pid,
    log: log.child({ toolstack: 'xl' }),
  };
}

/** The bridge is chosen before the wire is asked; a host on which none can be is refused there, with why. */
function noBridge(): Promise<string> {
  return Promise.reject(new AppError('unavailable', 'The wire cannot be asked: no bridge was chosen for the vif'));
}
