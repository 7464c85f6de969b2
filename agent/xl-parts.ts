import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { AppError, wrongState } from '../shared/errors.js';
import type { Exec, Follow } from '../shared/exec.js';
import { SysfsBridges } from './adapters/bridge/sysfs-bridges.js';
import { FileDeploymentRecord, FileEventBacklog, FileLeaseBook } from './adapters/disk/boot-record.js';
import { DirCfgFolder } from './adapters/disk/dir-cfg-folder.js';
import { DirIdentityStore } from './adapters/disk/dir-identity-store.js';
import { FileAgentRecord } from './adapters/disk/file-agent-record.js';
import { FileOrderJournal } from './adapters/disk/file-order-journal.js';
import { GrpcControllerLink } from './adapters/grpc/grpc-controller-link.js';
import { GrpcJoiner } from './adapters/grpc/grpc-joiner.js';
import { SystemDeployment } from './adapters/system/deployment.js';
import { nodeKeyMaker } from './adapters/system/node-key-maker.js';
import { systemClock } from './adapters/system/system-clock.js';
import { findXenHost, type XenPlaces } from './adapters/xl/xen-host.js';
import { XlHostReport } from './adapters/xl/xl-host-report.js';
import { XlToolstack } from './adapters/xl/xl-toolstack.js';
import type { AgentParts } from './app.js';
import type { GuestDisk } from './ports/guest-disk.js';
import type { WireProbe } from './ports/wire-probe.js';

export interface XlAgentOptions {
  /** Absolute; made if it is missing. */
  readonly stateDir: string;
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
  const clock = systemClock;
  const cfgFolder = new DirCfgFolder(xenDir, join(stateDir, 'backup'), clock);
  const hostReport = new XlHostReport({ exec, host, log, build });
  const toolstack = new XlToolstack({ host, exec, follow, cfgFolder, clock, log });
  toolstack.onDomains = () => hostReport.domainsChanged();
  return {
    toolstack,
    cfgFolder,
    guestDisk: NO_GUEST_DISK,
    wire: NO_WIRE,
    bridges: new SysfsBridges({ xlConfPath: join(xenDir, 'xl.conf') }),
    clock,
    link: new GrpcControllerLink(clock),
    joiner: new GrpcJoiner(),
    identities: new DirIdentityStore(stateDir, nodeKeyMaker),
    keys: nodeKeyMaker,
    hostReport,
    deployment: new SystemDeployment(exec),
    deploymentRecord: new FileDeploymentRecord(stateDir),
    leases: new FileLeaseBook(stateDir),
    backlog: new FileEventBacklog(stateDir),
    journal: new FileOrderJournal(join(stateDir, 'orders.journal')),
    record: new FileAgentRecord(stateDir),
    random: Math.random,
    pid: process.pid,
    log: log.child({ toolstack: 'xl' }),
  };
}

const NO_GUEST_DISK: GuestDisk = {
  read: () => Promise.resolve(undefined),
  write: ({ name }) => Promise.reject(wrongState(`${name}: this build cannot write into the disk of a guest`)),
};

const NO_WIRE: WireProbe = {
  probe: () => Promise.reject(new AppError('unavailable', 'This build cannot ask the wire for an address')),
};
