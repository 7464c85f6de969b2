import { join } from 'node:path';
import type { Logger } from 'pino';
import { PROTOCOL } from '../shared/version.js';
import { OpenCalls } from './adapters/grpc/open-calls.js';
import { ServerTls } from './adapters/grpc/server-tls.js';
import { adminServices, joinServices, networkServices, type Answerers } from './adapters/grpc/services.js';
import { X509Authority } from './adapters/identity/x509-authority.js';
import { DirImageStore } from './adapters/image/dir-image-store.js';
import { FetchUrlSource } from './adapters/image/fetch-url-source.js';
import { openDatabase } from './adapters/sqlite/open-database.js';
import { prepareDataFolder } from './adapters/system/data-folder.js';
import { transferFiles } from './adapters/system/transfer-file.js';
import { removeEndpoints, writeEndpoints, type Endpoints } from './adapters/system/endpoint-file.js';
import type { Config } from './config.js';
import { advertisedAddresses, formatListenAddress, type ListenAddress } from './domain/listen-address.js';
import { Network } from './network.js';
import type { Clock, RandomSource } from './ports/environment.js';
import type { Database } from './ports/store.js';
import type { Timers } from './ports/timer.js';
import { CertificateService } from './services/certificate-service.js';
import { ConflictService } from './services/conflict-service.js';
import { ConsoleHub } from './services/console-hub.js';
import { EarlyLeaser } from './services/early-lease.js';
import { EventLog } from './services/event-log.js';
import { Fleet } from './services/fleet.js';
import { HostRemover } from './services/host-remover.js';
import { HostQuery } from './services/host-service.js';
import { ImageService } from './services/image-service.js';
import { HostStreams } from './services/host-streams.js';
import { JoinService } from './services/join-service.js';
import { Journal } from './services/journal.js';
import { KeyedQueue } from './services/keyed-queue.js';
import { LeaseNews } from './services/lease-news.js';
import { LeaseService } from './services/lease-service.js';
import { LeaseSweeper } from './services/lease-sweeper.js';
import { MacService } from './services/mac-service.js';
import { OrderBook } from './services/order-book.js';
import { PoolIndex } from './services/pool-index.js';
import { ReservationService } from './services/reservation-service.js';
import { TokenService } from './services/token-service.js';
import { StoreQuery } from './services/store-query.js';
import { TransferHub } from './services/transfer-hub.js';
import { VmAddresser } from './services/vm-addresser.js';
import { VmHoldings } from './services/vm-holdings.js';
import { VmChanger } from './services/vm-changer.js';
import { VmCarrier } from './services/vm-carrier.js';
import { VmCreator } from './services/vm-creator.js';
import { VmInspector } from './services/vm-inspector.js';
import { VmLabeler } from './services/vm-labeler.js';
import { VmPlacer } from './services/vm-placer.js';
import { VmMaker } from './services/vm-maker.js';
import { VmDeleter } from './services/vm-deleter.js';
import { VmMigrator } from './services/vm-migrator.js';
import { VmRenamer } from './services/vm-renamer.js';
import { VmOperator } from './services/vm-operator.js';
import { VmQuery } from './services/vm-query.js';
import { VmRestorer } from './services/vm-restorer.js';
import { VmService } from './services/vm-service.js';
import { VmStarter } from './services/vm-starter.js';
import { VmWatch } from './services/vm-watch.js';
import type { VmId } from './domain/lease.js';

/** What the process is, as `main` found it. */
export interface AppWorld {
  readonly log: Logger;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly timers: Timers;
  /** Who opens the local socket, for events. */
  readonly localName: string;
  readonly pid: number;
  readonly machine: { readonly host: string; readonly bootId: string };
  /** Addresses of this machine that agents could dial. */
  readonly localAddresses: readonly string[];
}

export interface App {
  readonly endpoints: Endpoints;
  /** Ends streams, finishes what was asked, closes the database. Within 10 s. */
  stop(): Promise<void>;
}

/** Streams that one client may have open at once. */
const MAX_STREAMS = 256;
const FLEET_SWEEP_MS = 1_000;
const DATABASE_FILE = 'domherd.db';
const IMAGE_FOLDER = 'images';

/**
 * The controller, serving.
 *
 * @throws {AppError} `unavailable` (another one serves the data folder, an address is taken), `wrong_state` (database or CA
 *   damaged, newer or foreign); nothing is left open then
 */
export async function startApp(config: Config, world: AppWorld): Promise<App> {
  const { log, clock } = world;
  prepareDataFolder(config.dataDir, log);
  const database = openDatabase({
    path: join(config.dataDir, DATABASE_FILE),
    log,
    owner: { ...world.machine, pid: world.pid, startedAtMs: clock.nowMs() },
  });
  try {
    return await serve(config, world, database);
  } catch (error) {
    database.close();
    throw error;
  }
}

async function serve(config: Config, world: AppWorld, database: Database): Promise<App> {
  const { log, clock } = world;
  const authority = await X509Authority.open(config.dataDir, clock);
  const calls = new OpenCalls(MAX_STREAMS);
  const journal = new Journal(database, log);
  const parts = makeServices(config, world, { journal, authority, calls, network: () => network });
  const tls = new ServerTls({
    caPem: authority.certificatePem,
    issue: (lifeMs) => authority.issueServer(lifeMs),
    clock,
    log,
  });
  const { answerers, orders, sweeper } = parts;
  const network: Network = new Network({
    ...config,
    localName: world.localName,
    tls,
    calls,
    clock,
    log,
    findIdentity: (serial) => database.read(({ identities }) => identities.find(serial)),
    services: {
      admin: adminServices(answerers),
      network: networkServices(answerers),
      join: joinServices(answerers),
    },
  });
  await startNetwork(network);
  const endpoints = endpointsOf(config, world.pid, network);
  writeEndpoints(config.dataDir, endpoints);
  sweeper.start();
  const news = new LeaseNews({ journal, fleet: answerers.fleet });
  answerers.vms.creator.resume();
  answerers.vms.deleter.resume();
  answerers.vms.migrator.resume();
  answerers.vms.renamer.resume();
  const stopSweeps = sweepFleet(answerers.fleet, news, log);
  return {
    endpoints,
    stop: async () => {
      orders.leave();
      answerers.vms.creator.stop();
      answerers.vms.deleter.stop();
      answerers.vms.migrator.stop();
      answerers.vms.renamer.stop();
      await network.stop();
      stopSweeps();
      await sweeper.stop();
      await journal.stop();
      removeEndpoints(config.dataDir);
      database.close();
    },
  };
}

/** A start that fails half way leaves no listener behind. */
async function startNetwork(network: Network): Promise<void> {
  try {
    await network.start();
  } catch (error) {
    await network.stop();
    throw error;
  }
}

interface Foundation {
  readonly journal: Journal;
  readonly authority: X509Authority;
  readonly calls: OpenCalls;
  /** Known once it is started; asked only by calls. */
  readonly network: () => Network;
}

function makeServices(
  config: Config,
  world: AppWorld,
  foundation: Foundation,
): { readonly answerers: Answerers; readonly orders: OrderBook; readonly sweeper: LeaseSweeper } {
  const { clock, random, timers, log } = world;
  const { journal } = foundation;
  const { lostAfterMs, heartbeatMs, quarantineMs, startGraceMs: graceMs } = config;
  const events = new EventLog({ journal });
  const orders = new OrderBook({ timers, random });
  const fleet = new Fleet({ journal, events, orders, clock, log, lostAfterMs, graceMs });
  const pools = journal.read((stores) => PoolIndex.load(stores));
  const common = { journal, events, pools, clock, random, knowledge: fleet, quarantineMs };
  const leases = new LeaseService({
    ...common,
    isMacObservedElsewhere: (mac, owner) =>
      fleet.vms.byMac(mac).some((vm) => owner.kind !== 'vif' || owner.vmId !== vm.id),
  });
  const macs = new MacService(common);
  const holdings = new VmHoldings({ leases, macs });
  const transfers = new TransferHub({ timers, random, source: transferFiles });
  const images: ImageService = new ImageService({
    store: new DirImageStore(join(config.dataDir, IMAGE_FOLDER)),
    urls: new FetchUrlSource(),
    mayRead: (hostId, sha256) => answerers.vms.maker.isMakingOf(hostId, sha256),
  });
  const streams = new HostStreams({ fleet, orders, timers, random });
  const answerers: Answerers = {
    leases,
    reservations: new ReservationService({ ...common, leases }),
    macs,
    events,
    fleet,
    hosts: new HostQuery({ fleet, journal }),
    stores: new StoreQuery({ fleet, orders }),
    remover: new HostRemover({ ...common, fleet, holdings, calls: foundation.calls }),
    conflicts: new ConflictService({ fleet, journal, clock }),
    vms: makeVmServices(world, { journal, events, orders, fleet, pools, leases, holdings, streams, transfers }),
    streams,
    ...makeIdentityServices(config, world, foundation, { events, fleet }),
    transfers,
    images,
    clock,
    timers,
    heartbeatMs,
  };
  return { answerers, orders, sweeper: new LeaseSweeper({ ...common, leases, log }) };
}

interface VmParts {
  readonly journal: Journal;
  readonly events: EventLog;
  readonly orders: OrderBook;
  readonly fleet: Fleet;
  readonly pools: PoolIndex;
  readonly leases: LeaseService;
  readonly holdings: VmHoldings;
  readonly streams: HostStreams;
  readonly transfers: TransferHub;
}

function makeVmServices({ clock, random, timers, log }: AppWorld, parts: VmParts): Answerers['vms'] {
  const query = new VmQuery(parts);
  const operator = new VmOperator({ ...parts, query, clock, log });
  const watch = new VmWatch({ fleet: parts.fleet, timers });
  // Addressing, starting and restoring one VM take turns.
  const turns = new KeyedQueue<VmId>();
  const addresser = new VmAddresser({ ...parts, query, operator, clock, turns });
  const starter = new VmStarter({ ...parts, query, operator, clock, turns });
  const carrier = new VmCarrier({ ...parts, operator });
  const leaser = new EarlyLeaser({ ...parts, clock });
  const maker = new VmMaker({ ...parts, operator, addresser, starter, carrier, leaser, clock });
  const placer = new VmPlacer({ ...parts, maker });
  return {
    query,
    inspector: new VmInspector({ ...parts, query, operator, timers }),
    addresser,
    maker,
    creator: new VmCreator({ ...parts, operator, maker, placer, clock, random }),
    deleter: new VmDeleter({ ...parts, query, operator, clock, log, turns }),
    migrator: new VmMigrator({ ...parts, query, operator, starter, carrier, clock, log, turns }),
    renamer: new VmRenamer({ ...parts, query, operator, maker, clock, log, turns }),
    labeler: new VmLabeler({ ...parts, query, operator }),
    starter,
    changer: new VmChanger({ ...parts, query, operator, starter, clock, turns }),
    restorer: new VmRestorer({ ...parts, query, operator, turns }),
    service: new VmService({ fleet: parts.fleet, query, operator, watch }),
    consoles: new ConsoleHub({ ...parts, query, operator }),
  };
}

function makeIdentityServices(
  config: Config,
  world: AppWorld,
  { journal, authority, calls, network }: Foundation,
  { events, fleet }: { readonly events: EventLog; readonly fleet: Fleet },
): Pick<Answerers, 'joins' | 'tokens' | 'certificates' | 'info'> {
  const { clock, random, localAddresses } = world;
  const startedAtMs = clock.nowMs();
  const advertise = (listen: ListenAddress | undefined): readonly string[] =>
    listen === undefined ? [] : advertisedAddresses(listen, config.advertise, localAddresses);
  const cutHost = fleet.cutHost.bind(fleet);
  const common = { journal, events, authority, clock, calls, cutHost };
  return {
    joins: new JoinService({ ...common, protocol: PROTOCOL, sessionAddresses: () => advertise(network().listen) }),
    certificates: new CertificateService(common),
    tokens: new TokenService({
      ...common,
      random,
      caPin: authority.pin,
      joinAddresses: () => advertise(network().joinListen),
    }),
    info: () => ({
      startedAtMs,
      dataDir: config.dataDir,
      listen: shown(network().listen),
      joinListen: shown(network().joinListen),
      advertised: advertise(network().listen),
    }),
  };
}

function endpointsOf({ socket }: Config, pid: number, network: Network): Endpoints {
  return { pid, socket, listen: shown(network.listen), joinListen: shown(network.joinListen) };
}

function shown(address: ListenAddress | undefined): string | undefined {
  return address && formatListenAddress(address);
}

/** @returns stops it */
function sweepFleet(fleet: Fleet, news: LeaseNews, log: Logger): () => void {
  let isRunning = false;
  const sweep = async (): Promise<void> => {
    if (isRunning) return;
    isRunning = true;
    try {
      await fleet.sweep();
      news.tell();
    } catch (error) {
      log.error({ err: error }, 'fleet sweep failed');
    } finally {
      isRunning = false;
    }
  };
  const timer = setInterval(() => void sweep(), FLEET_SWEEP_MS);
  timer.unref();
  return () => clearInterval(timer);
}
