import { randomBytes } from 'node:crypto';
import { pino } from 'pino';
import { parseIpv4 } from '../../shared/domain/ipv4.js';
import { openMemoryDatabase } from '../../controller/adapters/sqlite/open-database.js';
import { transferFiles } from '../../controller/adapters/system/transfer-file.js';
import type { Caller } from '../../controller/domain/caller.js';
import type { Event } from '../../controller/domain/event.js';
import type { Lease } from '../../controller/domain/lease.js';
import type { Reservation } from '../../controller/domain/reservation.js';
import type { ObservedVm, Vm } from '../../controller/domain/vm.js';
import type { Database, Stores, Tx } from '../../controller/ports/store.js';
import { AppError } from '../../shared/errors.js';
import { ConflictService } from '../../controller/services/conflict-service.js';
import { EarlyLeaser } from '../../controller/services/early-lease.js';
import { EventLog } from '../../controller/services/event-log.js';
import { Fleet } from '../../controller/services/fleet.js';
import { Journal } from '../../controller/services/journal.js';
import { KeyedQueue } from '../../controller/services/keyed-queue.js';
import { LeaseService } from '../../controller/services/lease-service.js';
import { MacService } from '../../controller/services/mac-service.js';
import { OrderBook } from '../../controller/services/order-book.js';
import { PoolIndex } from '../../controller/services/pool-index.js';
import { TransferHub } from '../../controller/services/transfer-hub.js';
import { VmCarrier } from '../../controller/services/vm-carrier.js';
import { VmAddresser } from '../../controller/services/vm-addresser.js';
import { VmHoldings } from '../../controller/services/vm-holdings.js';
import { VmOperator } from '../../controller/services/vm-operator.js';
import type { VmProgress, VmResult } from '../../controller/services/vm-progress.js';
import { VmQuery } from '../../controller/services/vm-query.js';
import { ConsoleHub } from '../../controller/services/console-hub.js';
import { HostStreams } from '../../controller/services/host-streams.js';
import { VmChanger } from '../../controller/services/vm-changer.js';
import { VmCreator } from '../../controller/services/vm-creator.js';
import { VmInspector } from '../../controller/services/vm-inspector.js';
import { VmLabeler } from '../../controller/services/vm-labeler.js';
import { VmPlacer } from '../../controller/services/vm-placer.js';
import { VmMaker } from '../../controller/services/vm-maker.js';
import { VmDeleter } from '../../controller/services/vm-deleter.js';
import { VmMigrator } from '../../controller/services/vm-migrator.js';
import { VmRenamer } from '../../controller/services/vm-renamer.js';
import { VmRestorer } from '../../controller/services/vm-restorer.js';
import { VmService } from '../../controller/services/vm-service.js';
import { VmStarter } from '../../controller/services/vm-starter.js';
import { VmWatch } from '../../controller/services/vm-watch.js';
import { FakeAgent, imageVm } from './fake-agent.js';
import { ManualClock } from './manual-clock.js';
import { ManualTimers } from './manual-timer.js';

export const ADMIN: Caller = { actor: 'admin:ann', requestId: undefined, fingerprint: '' };
const HOUR = 3_600_000;

/** A controller without its network: the services over a database in memory, and fake agents. */
export class FleetWorld {
  readonly clock: ManualClock;
  readonly timers: ManualTimers;
  readonly database: Database;
  /** What this controller writes; the next one has the same below. */
  readonly #disk: DyingDatabase;
  readonly #agents: FakeAgent[] = [];
  readonly journal: Journal;
  readonly events: EventLog;
  readonly orders: OrderBook;
  readonly fleet: Fleet;
  readonly pools: PoolIndex;
  readonly leases: LeaseService;
  readonly query: VmQuery;
  readonly inspector: VmInspector;
  readonly watch: VmWatch;
  readonly addresser: VmAddresser;
  readonly starter: VmStarter;
  readonly restorer: VmRestorer;
  readonly maker: VmMaker;
  readonly labeler: VmLabeler;
  readonly creator: VmCreator;
  readonly deleter: VmDeleter;
  readonly migrator: VmMigrator;
  readonly renamer: VmRenamer;
  readonly macs: MacService;
  readonly service: VmService;
  readonly changer: VmChanger;
  readonly streams: HostStreams;
  readonly consoles: ConsoleHub;
  readonly conflicts: ConflictService;

  /** @param former its database and clock are taken over: a controller that was restarted */
  constructor(former?: FleetWorld) {
    const log = pino({ level: 'silent' });
    this.clock = former?.clock ?? new ManualClock();
    this.timers = new ManualTimers(this.clock);
    this.database = former?.database ?? openMemoryDatabase();
    if (!former) this.database.write((tx) => void tx.reservations.insert(reservationData(this.clock.nowMs())));
    const { clock, timers } = this;
    const database = (this.#disk = new DyingDatabase(this.database));
    const random = { bytes: (count: number) => randomBytes(count) };
    const journal = (this.journal = new Journal(database, log));
    const events = (this.events = new EventLog({ journal }));
    const orders = (this.orders = new OrderBook({ timers, random }));
    const fleet = (this.fleet = new Fleet({ journal, events, orders, clock, log }));
    const pools = (this.pools = database.read((stores) => PoolIndex.load(stores)));
    const isMacObservedElsewhere = fleet.isMacObservedElsewhere.bind(fleet);
    const common = { journal, events, pools, clock, random, log, knowledge: fleet, isMacObservedElsewhere };
    const leases = (this.leases = new LeaseService(common));
    const macs = (this.macs = new MacService(common));
    const query = (this.query = new VmQuery({ fleet, journal }));
    const watch = (this.watch = new VmWatch({ fleet, timers }));
    const operator = new VmOperator({ fleet, orders, query, journal, events, clock, log });
    this.inspector = new VmInspector({ fleet, query, operator, orders, events, timers });
    const turns = new KeyedQueue<number>();
    this.addresser = new VmAddresser({ fleet, query, operator, leases, pools, journal, clock, turns });
    this.starter = new VmStarter({ fleet, query, operator, journal, clock, turns });
    const holdings = new VmHoldings({ leases, macs });
    const { addresser, starter } = this;
    const transfers = new TransferHub({ timers, random, source: transferFiles });
    const carrier = new VmCarrier({ fleet, operator, transfers });
    const leaser = new EarlyLeaser({ fleet, leases, pools, journal, clock });
    const parts = { fleet, operator, addresser, starter, holdings, pools, journal, clock, carrier, leaser };
    const maker = (this.maker = new VmMaker(parts));
    const placer = new VmPlacer({ fleet, maker });
    this.labeler = new VmLabeler({ fleet, query, operator, journal });
    this.creator = new VmCreator({ fleet, operator, maker, placer, pools, journal, clock, random });
    this.deleter = new VmDeleter({ fleet, query, operator, holdings, journal, clock, log, turns });
    this.migrator = new VmMigrator({ fleet, query, operator, starter, carrier, journal, clock, log, turns });
    this.renamer = new VmRenamer({ fleet, query, operator, maker, journal, clock, log, turns });
    this.restorer = new VmRestorer({ fleet, query, operator, holdings, journal, turns });
    this.service = new VmService({ fleet, query, operator, watch });
    this.changer = new VmChanger({ fleet, query, operator, journal, starter: this.starter, clock, turns });
    this.streams = new HostStreams({ fleet, orders, timers, random });
    this.consoles = new ConsoleHub({ fleet, query, operator, journal, streams: this.streams });
    this.conflicts = new ConflictService({ fleet, journal, clock });
  }

  /** Hosts dom0-1 ... dom0-n of one image, connected. */
  static async ofImage(
    count: number,
    vms = [imageVm()],
  ): Promise<{ readonly world: FleetWorld; readonly agents: readonly FakeAgent[] }> {
    const world = new FleetWorld();
    const agents = Array.from({ length: count }, (_, n) => world.host(`dom0-${n + 1}`, vms));
    await Promise.all(agents.map((agent) => agent.connect()));
    return { world, agents };
  }

  /** A host that joined, and its agent, not connected yet. */
  host(name: string, vms: readonly ObservedVm[]): FakeAgent {
    const host = this.database.write((tx) =>
      tx.hosts.insert({
        ...{
          name,
          deploymentId: `deployment-${name}`,
          bootId: '',
          sessionCounter: 0,
          isSimulated: false,
          sessionAddresses: [],
        },
        ...{ joinedAtMs: this.clock.nowMs(), lastSeenAtMs: undefined, revokedAtMs: undefined, clockOffsetMs: 0 },
        facts: undefined,
      }),
    );
    return this.agent(host.id, host.deploymentId, vms);
  }

  agent(hostId: number, deploymentId: string, vms: readonly ObservedVm[]): FakeAgent {
    const agent = new FakeAgent({ fleet: this.fleet, hostId, deploymentId, nowMs: () => this.clock.nowMs(), vms });
    this.#agents.push(agent);
    return agent;
  }

  /** As by SIGKILL: nothing is written any more, and no agent hears or is heard. */
  die(): void {
    this.#disk.isDead = true;
    for (const agent of this.#agents) agent.kill();
  }

  /** The next controller over the same database; the agents are to connect to it. */
  restart(): FleetWorld {
    this.die();
    const next = new FleetWorld(this);
    for (const agent of this.#agents) {
      agent.fleet = next.fleet;
      next.#agents.push(agent);
    }
    return next;
  }

  /** The only VM of that NAME@HOST. */
  vm(name: string): Vm {
    return this.query.get(name).vm;
  }

  allLeases(): readonly Lease[] {
    return this.database.read((stores) => stores.leases.list({}, undefined, 10_000));
  }

  allEvents(kind: string): readonly Event[] {
    return this.database.read((stores) => stores.events.list({ kinds: [kind] }, undefined, 1_000));
  }
}

class DyingDatabase implements Database {
  isDead = false;
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  write<T>(work: (tx: Tx) => T): T {
    if (this.isDead) throw new AppError('unavailable', 'the controller was killed');
    return this.#database.write(work);
  }

  read<T>(work: (stores: Stores) => T): T {
    return this.#database.read(work);
  }

  close(): void {
    this.#database.close();
  }
}

export function reservationData(nowMs: number, change: Partial<Reservation> = {}): Omit<Reservation, 'id'> {
  return {
    ...{ name: 'job-1', source: 'cidr-list', user: undefined, site: undefined, jobId: undefined },
    startsAtMs: nowMs - HOUR,
    endsAtMs: nowMs + 8 * HOUR,
    settings: {
      prefix: 14,
      broadcast: parseIpv4('10.183.255.255'),
      gateway: parseIpv4('10.183.255.254'),
      dns: [parseIpv4('172.16.16.247')],
      domain: 'grenoble.grid5000.fr',
    },
    ranges: [{ first: parseIpv4('10.180.0.1'), last: parseIpv4('10.180.3.254') }],
    exclusions: [],
    ...change,
  };
}

/** Everything that an operation tells. */
export async function collect(progress: AsyncIterable<VmProgress>): Promise<readonly VmProgress[]> {
  const all: VmProgress[] = [];
  for await (const each of progress) all.push(each);
  return all;
}

export async function resultsOf(progress: AsyncIterable<VmProgress>): Promise<readonly VmResult[]> {
  return (await collect(progress)).filter((each) => each.kind === 'result');
}
