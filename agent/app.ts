// Invariants:
// - The end of the agent, however it comes, changes no domain: nothing here owns one.
// - An identity of another deployment is moved aside before anything is said to the controller.
import type { Logger } from 'pino';
import { wrongState } from '../shared/errors.js';
import { VERSION } from '../shared/version.js';
import { isNewDeployment } from './domain/deployment.js';
import type { Identity } from './domain/identity.js';
import type { AgentRecord } from './ports/agent-record.js';
import type { DeploymentRecord, EventBacklog, LeaseBook } from './ports/boot-record.js';
import type { Arrivals } from './ports/arrivals.js';
import type { BootFiles } from './ports/boot-files.js';
import type { Autostart } from './ports/autostart.js';
import type { Bridges } from './ports/bridges.js';
import type { CfgFolder } from './ports/cfg-folder.js';
import type { Clock } from './ports/clock.js';
import type { Consoles } from './ports/consoles.js';
import type { CopyLog } from './ports/copy-log.js';
import type { ControllerLink } from './ports/controller-link.js';
import type { FormerCfgs } from './ports/former-cfgs.js';
import type { DiskContent } from './ports/disk-content.js';
import type { DiskStore } from './ports/disk-store.js';
import type { GuestDisk } from './ports/guest-disk.js';
import type { HostImages } from './ports/host-images.js';
import type { DeploymentSource, HostReport } from './ports/host-report.js';
import type { HostStores } from './ports/host-stores.js';
import type { HostFiles } from './ports/host-files.js';
import type { IdentityStore } from './ports/identity-store.js';
import type { Installer } from './ports/installer.js';
import type { IntentLog } from './ports/intent-log.js';
import type { Joiner } from './ports/joiner.js';
import type { KeyMaker } from './ports/key-maker.js';
import type { LiveMover } from './ports/live-mover.js';
import type { OrderJournal } from './ports/order-journal.js';
import type { RenameLog } from './ports/rename-log.js';
import type { RestartLog } from './ports/restart-log.js';
import type { SeedMaker } from './ports/seed-maker.js';
import type { Toolstack } from './ports/toolstack.js';
import type { TransferLink } from './ports/transfer-link.js';
import type { WireProbe } from './ports/wire-probe.js';
import { BacklogNews } from './services/backlog-news.js';
import { makeCarryOut } from './services/carry-out.js';
import { LiveMigrator } from './services/live-migrator.js';
import { VmConfigurer } from './services/configure-vm.js';
import { ConsoleServer } from './services/console-server.js';
import { VmCopier } from './services/copy-vm.js';
import { VmImager } from './services/vm-imager.js';
import { VmLooker } from './services/vm-looker.js';
import { VmMaker } from './services/vm-maker.js';
import { LeaseMemory } from './services/lease-memory.js';
import { Observer } from './services/observe.js';
import { OrderRunner } from './services/order-runner.js';
import { JOIN_HINT, Renewal } from './services/renewal.js';
import { VmRenamer } from './services/rename-vm.js';
import { ResultOutbox } from './services/result-outbox.js';
import { VmSetter } from './services/vm-setter.js';
import { VmReceiver } from './services/receive-vm.js';
import { VmSender } from './services/send-vm.js';
import { SessionKeeper } from './services/session-keeper.js';
import { sleep } from './services/sleep.js';
import { StoreWatch } from './services/store-watch.js';

/** Of the 10 s that a stop may take; the rest is for saying goodbye. */
const FINISH_MS = 8000;

/** The world of one agent. */
export interface AgentParts {
  readonly toolstack: Toolstack;
  readonly cfgFolder: CfgFolder;
  readonly guestDisk: GuestDisk;
  readonly disks: DiskStore;
  /** What they are kept in. */
  readonly stores: HostStores;
  readonly images: HostImages;
  readonly installer: Installer;
  readonly bootFiles: BootFiles;
  readonly seeds: SeedMaker;
  readonly diskContent: DiskContent;
  readonly hostFiles: HostFiles;
  /** What VMs were made of here. */
  readonly copies: CopyLog;
  /** Takes domains to other hosts while they run. */
  readonly mover: LiveMover;
  readonly arrivals: Arrivals;
  readonly wire: WireProbe;
  readonly bridges: Bridges;
  readonly consoles: Consoles;
  readonly autostart: Autostart;
  readonly clock: Clock;
  readonly link: ControllerLink;
  readonly joiner: Joiner;
  readonly identities: IdentityStore;
  readonly transfers: TransferLink;
  readonly keys: KeyMaker;
  readonly hostReport: HostReport;
  readonly deployment: DeploymentSource;
  readonly deploymentRecord: DeploymentRecord;
  readonly leases: LeaseBook;
  readonly backlog: EventBacklog;
  readonly journal: OrderJournal;
  readonly record: AgentRecord;
  /** Changes of VMs that are under way. */
  readonly intents: IntentLog;
  readonly formerCfgs: FormerCfgs;
  readonly renames: RenameLog;
  readonly restarts: RestartLog;
  /** 0 (included) to 1 (excluded). */
  readonly random: () => number;
  readonly pid: number;
  readonly log: Logger;
}

/** One agent. A process may have many, each with a state folder of its own. */
export class AgentApp {
  readonly #parts: AgentParts;
  readonly #log: Logger;
  readonly #configurer: VmConfigurer;
  readonly #maker: VmMaker;
  readonly #consoles: ConsoleServer;
  readonly #imager: VmImager;
  readonly #renamer: VmRenamer;
  readonly #orders: OrderRunner;
  readonly #keeper: SessionKeeper;
  readonly #end = new AbortController();
  #endWatches: readonly (() => void)[] = [];
  #running: Promise<void> | undefined;
  #stopped: Promise<void> | undefined;

  constructor(parts: AgentParts) {
    this.#parts = parts;
    this.#log = parts.log;
    const observer = new Observer(parts.toolstack, parts.cfgFolder, parts.guestDisk, parts.autostart);
    this.#configurer = new VmConfigurer(parts);
    this.#maker = new VmMaker(parts);
    this.#imager = new VmImager(parts, this.#maker);
    const leaseMemory = new LeaseMemory(parts);
    this.#consoles = new ConsoleServer({
      ...parts,
      openStream: (consoleId, note) => this.#keeper.openConsole(consoleId, note),
    });
    const { toolstack, bridges, restarts } = parts;
    const copier = new VmCopier({ ...parts, maker: this.#maker });
    const sender = new VmSender({ ...parts, observer });
    const receiver = new VmReceiver({ ...parts, maker: this.#maker });
    const makers = { copier, imager: this.#imager, maker: this.#maker, sender, receiver };
    const means = { toolstack, bridges, restarts, configurer: this.#configurer, ...makers };
    const setter = new VmSetter({ ...parts, configurer: this.#configurer });
    this.#renamer = new VmRenamer({ ...parts, configurer: this.#configurer });
    const storeWatch = new StoreWatch(parts);
    const rest = { consoles: this.#consoles, setter, looker: new VmLooker(parts), renamer: this.#renamer };
    const live = new LiveMigrator({ ...parts, observer, maker: this.#maker });
    const carryOut = storeWatch.noting(makeCarryOut({ observer, ...means, ...rest, live }));
    this.#orders = new OrderRunner({
      ...parts,
      carryOut: leaseMemory.noting(carryOut),
      findVm: (key) => observer.find(key),
      listener: {
        progressed: (progress) => this.#keeper.progressed(progress),
        finished: (result) => this.#keeper.finished(result),
        repeated: (result) => this.#keeper.repeated(result),
      },
    });
    this.#keeper = new SessionKeeper({
      ...parts,
      observer,
      orders: this.#orders,
      outbox: new ResultOutbox(),
      news: new BacklogNews(parts),
      leaseMemory,
      storeWatch,
      renewal: new Renewal(parts),
      about: { version: VERSION, pid: parts.pid, startedAtMs: parts.clock.nowMs() },
    });
  }

  /**
   * Resolves when the agent runs; the session comes, goes and comes again from then on.
   *
   * @param signal stops it, as {@link stop} does
   * @throws {AppError} `wrong_state` if this host has not joined, or its identity is of another deployment
   */
  async start(signal: AbortSignal): Promise<void> {
    const { toolstack, cfgFolder } = this.#parts;
    const { host, deploymentId } = await this.#boundIdentity();
    await this.#maker.recover();
    await this.#parts.mover.recover().catch((error: unknown) => {
      this.#log.error({ err: error }, 'what a migration left open could not be closed');
    });
    await this.#imager.recover();
    await this.#configurer.recover();
    await this.#renamer.recover();
    await this.#orders.start();
    const changed = (): void => this.#keeper.stateChanged();
    this.#endWatches = [toolstack.watch(changed), cfgFolder.watch(changed)];
    signal.addEventListener('abort', () => void this.stop(), { once: true });
    this.#log.info({ host, deploymentId, version: VERSION, simulated: toolstack.isSimulated }, 'agent runs');
    this.#running = this.#keeper.run(this.#end.signal);
    if (signal.aborted) await this.stop();
  }

  /** Takes no more orders, finishes or undoes the present steps, says what came of them; within 10 s. Idempotent. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stopOnce();
    return this.#stopped;
  }

  async #stopOnce(): Promise<void> {
    this.#consoles.stop();
    const finished = new AbortController();
    const limit = sleep(this.#parts.clock, FINISH_MS, finished.signal).then((isOver) => {
      if (isOver) this.#log.error('an order did not end in time: it is left as it is');
    });
    await Promise.race([this.#orders.stop(), limit]);
    finished.abort();
    for (const endWatch of this.#endWatches) endWatch();
    this.#end.abort();
    await this.#running;
    this.#log.info('agent stopped');
  }

  async #boundIdentity(): Promise<Identity> {
    const { identities, deployment, deploymentRecord } = this.#parts;
    const identity = await identities.load();
    if (identity === undefined) throw wrongState('This host has not joined a controller', { hint: JOIN_HINT });
    const present = await deployment.readDeployment();
    const deploymentId = present.id;
    if (identity.deploymentId === deploymentId) return identity;
    const recorded = await deploymentRecord.read();
    // A NIC came or went: the same deployment, by the name that it joined with.
    if (recorded?.id === identity.deploymentId && !isNewDeployment(recorded, present)) return identity;
    const path = await identities.moveAside();
    this.#log.warn({ path, was: identity.deploymentId, deploymentId }, 'identity of another deployment moved aside');
    throw wrongState(
      `The identity of ${identity.host} is of another deployment of this machine: moved to ${path ?? ''}`,
      {
        hint: JOIN_HINT,
      },
    );
  }
}
