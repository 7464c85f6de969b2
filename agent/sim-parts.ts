import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { FileDeploymentRecord, FileEventBacklog, FileLeaseBook } from './adapters/disk/boot-record.js';
import { DirAutostart } from './adapters/disk/dir-autostart.js';
import { DirCfgFolder } from './adapters/disk/dir-cfg-folder.js';
import { DirIdentityStore } from './adapters/disk/dir-identity-store.js';
import { DirRecordStore } from './adapters/disk/dir-record-store.js';
import { FileAgentRecord } from './adapters/disk/file-agent-record.js';
import { FileOrderJournal } from './adapters/disk/file-order-journal.js';
import { RecordArrivals } from './adapters/disk/record-arrivals.js';
import { RecordFormerCfgs } from './adapters/disk/record-former-cfgs.js';
import { RecordCopyLog } from './adapters/disk/record-copy-log.js';
import { RecordIntentLog } from './adapters/disk/record-intent-log.js';
import { RecordRenameLog } from './adapters/disk/record-rename-log.js';
import { RecordRestartLog } from './adapters/disk/record-restart-log.js';
import { GrpcControllerLink } from './adapters/grpc/grpc-controller-link.js';
import { GrpcImageFeed } from './adapters/grpc/grpc-image-feed.js';
import { GrpcJoiner } from './adapters/grpc/grpc-joiner.js';
import { LazyTransferLink } from './adapters/grpc/lazy-transfer-link.js';
import { SimDiskStore } from './adapters/sim/sim-disk-store.js';
import { SimStores } from './adapters/sim/sim-stores.js';
import { simFiles } from './adapters/sim/sim-files.js';
import { openSimHost } from './adapters/sim/sim-host.js';
import { simBootFiles, SimImages, simInstaller, simSeeds } from './adapters/sim/sim-images.js';
import { nodeKeyMaker } from './adapters/system/node-key-maker.js';
import { systemClock } from './adapters/system/system-clock.js';
import { SystemHostReport } from './adapters/system/system-host-report.js';
import type { AgentParts } from './app.js';
import type { SimOptions } from './domain/sim-option.js';
import type { Clock } from './ports/clock.js';
import type { HostReport } from './ports/host-report.js';

export interface SimAgentOptions {
  /** Absolute; made if it is missing. Each agent has its own. */
  readonly stateDir: string;
  readonly sim: SimOptions;
  readonly log: Logger;
  /** One may serve all agents of a process. Left out: a new one. */
  readonly hostReport?: HostReport | undefined;
  /** Release and content, where `host add` installed the agent; left out: the release. */
  readonly build?: string | undefined;
  /** Left out: the system's. */
  readonly clock?: Clock | undefined;
}

/**
 * The parts of an agent whose toolstack is the simulated one: `new AgentApp(await openSimParts(options))`.
 *
 * @throws {AppError} `wrong_state` if the simulated state cannot be read
 */
export async function openSimParts(options: SimAgentOptions): Promise<AgentParts> {
  const { stateDir, sim, log } = options;
  const clock = options.clock ?? systemClock;
  await mkdir(stateDir, { recursive: true, mode: 0o700 });
  const simDir = join(stateDir, 'sim');
  const cfgFolder = new DirCfgFolder(join(simDir, 'xen'), join(stateDir, 'backup'), clock);
  const host = await openSimHost(simDir, cfgFolder, sim, clock);
  const identities = new DirIdentityStore(stateDir, nodeKeyMaker);
  return {
    ...host,
    cfgFolder,
    autostart: new DirAutostart(join(simDir, 'xen', 'auto')),
    disks: new SimDiskStore(join(simDir, 'disks'), sim.copyMs),
    stores: new SimStores(),
    images: new SimImages(new GrpcImageFeed(identities)),
    installer: simInstaller,
    bootFiles: simBootFiles,
    seeds: simSeeds,
    diskContent: simFiles,
    hostFiles: simFiles,
    copies: new RecordCopyLog(new DirRecordStore(join(stateDir, 'copies'))),
    arrivals: new RecordArrivals(new DirRecordStore(join(stateDir, 'arrivals'))),
    clock,
    link: new GrpcControllerLink(clock),
    joiner: new GrpcJoiner(),
    identities,
    transfers: new LazyTransferLink(identities),
    keys: nodeKeyMaker,
    deploymentRecord: new FileDeploymentRecord(stateDir),
    leases: new FileLeaseBook(stateDir),
    backlog: new FileEventBacklog(stateDir),
    hostReport: options.hostReport ?? new SystemHostReport(options.build),
    journal: new FileOrderJournal(join(stateDir, 'orders.journal')),
    record: new FileAgentRecord(stateDir),
    intents: new RecordIntentLog(new DirRecordStore(join(stateDir, 'intents')), log),
    renames: new RecordRenameLog(new DirRecordStore(join(stateDir, 'renames'))),
    restarts: new RecordRestartLog(new DirRecordStore(join(stateDir, 'restarts'))),
    formerCfgs: new RecordFormerCfgs(new DirRecordStore(join(stateDir, 'cfg-originals'))),
    random: Math.random,
    pid: process.pid,
    log: log.child({ toolstack: 'simulated' }),
  };
}
