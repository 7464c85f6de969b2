import { pino } from 'pino';
import type { Test } from 'tap';
import type { Caller } from '../../controller/domain/caller.js';
import { ownerKey, type Lease, type LeaseOwner } from '../../controller/domain/lease.js';
import { openMemoryDatabase } from '../../controller/adapters/sqlite/open-database.js';
import type { RandomSource } from '../../controller/ports/environment.js';
import type { Database } from '../../controller/ports/store.js';
import { EventLog } from '../../controller/services/event-log.js';
import { Journal } from '../../controller/services/journal.js';
import type { LeaseClaim } from '../../controller/services/lease-acquirer.js';
import { LeaseService } from '../../controller/services/lease-service.js';
import { LeaseSweeper } from '../../controller/services/lease-sweeper.js';
import type { IsMacObservedElsewhere } from '../../controller/services/mac-picker.js';
import { MacService } from '../../controller/services/mac-service.js';
import { PoolIndex } from '../../controller/services/pool-index.js';
import { ReservationService, type ImportResult } from '../../controller/services/reservation-service.js';
import { formatIpv4, parseIpv4, type Ipv4 } from '../../shared/domain/ipv4.js';
import { AppError } from '../../shared/errors.js';
import type { Mac } from '../../shared/domain/mac.js';
import { ManualClock } from '../fakes/manual-clock.js';
import { FakeVmKnowledge } from '../fakes/vm-knowledge.js';

export const HOUR_MS = 3_600_000;
export const MINUTE_MS = 60_000;

const SILENT = pino({ level: 'silent' });

/** 1, 2, 3 ...: distinct, and the same in each run. */
class CountingRandom implements RandomSource {
  #count = 0;

  bytes(count: number): Uint8Array {
    this.#count += 1;
    return Uint8Array.from({ length: count }, (_, n) => (this.#count >>> (8 * (count - 1 - n))) & 255);
  }
}

/** The services of addresses on a database in memory. Build with {@link makeAddressServices}. */
export interface AddressServices {
  readonly database: Database;
  readonly journal: Journal;
  readonly events: EventLog;
  readonly pools: PoolIndex;
  readonly clock: ManualClock;
  readonly knowledge: FakeVmKnowledge;
  readonly leases: LeaseService;
  readonly reservations: ReservationService;
  readonly macs: MacService;
  readonly sweeper: LeaseSweeper;
  /** MACs that another VM was seen with. */
  readonly observed: Set<Mac>;
}

/** @param database with what an earlier life left in it; a fresh one unless given */
export function makeAddressServices(database = openMemoryDatabase(), clock = new ManualClock()): AddressServices {
  const journal = new Journal(database, SILENT);
  const events = new EventLog({ journal });
  const pools = journal.read((stores) => PoolIndex.load(stores));
  const knowledge = new FakeVmKnowledge();
  const observed = new Set<Mac>();
  const isMacObservedElsewhere: IsMacObservedElsewhere = (mac) => observed.has(mac);
  const random = new CountingRandom();
  const leases = new LeaseService({ journal, events, pools, clock, random, knowledge, isMacObservedElsewhere });
  const reservations = new ReservationService({ journal, events, pools, leases, clock });
  const macs = new MacService({ journal, events, pools, clock, random, knowledge, isMacObservedElsewhere });
  const sweeper = new LeaseSweeper({ journal, pools, leases, clock, knowledge, log: SILENT });
  return { database, journal, events, pools, clock, knowledge, leases, reservations, macs, sweeper, observed };
}

/** A caller; with a request id the call is idempotent, and `fingerprint` stands for its content. */
export function callerOf(requestId?: string, fingerprint = 'same'): Caller {
  return { actor: 'admin:test', requestId, fingerprint };
}

export function nameOwner(name: string): LeaseOwner {
  return { kind: 'name', name };
}

export function vifOwner(vmId: number, vifIndex = 0): LeaseOwner {
  return { kind: 'vif', vmId, vifIndex };
}

export function claimOf(owner: LeaseOwner | string, address?: string, mac?: Mac): LeaseClaim {
  return {
    owner: typeof owner === 'string' ? nameOwner(owner) : owner,
    ...(address !== undefined && { address: parseIpv4(address) }),
    ...(mac !== undefined && { mac }),
  };
}

export function ip(text: string): Ipv4 {
  return parseIpv4(text);
}

export function show(leases: readonly Lease[]): string[] {
  return leases.map((lease) => `${formatIpv4(lease.address)} ${lease.state}`);
}

/** Imports blocks inside 10.144.0.0/14 for `hours` from now. */
export function importBlocks(
  services: AddressServices,
  name: string,
  blocks: string,
  hours = 8,
): Promise<ImportResult> {
  const options = { name, dns: [], exclusions: [], endsAtMs: services.clock.nowMs() + hours * HOUR_MS };
  return services.reservations.import({ text: blocks, options, isDryRun: false }, callerOf());
}

// A /29 has six usable addresses: 10.144.0.1 to 10.144.0.6.
export async function withSmallPool(blocks = '10.144.0.0/29'): Promise<AddressServices> {
  const services = makeAddressServices();
  await importBlocks(services, 'job-1', blocks);
  return services;
}

export function acquire(
  { leases }: AddressServices,
  owners: readonly string[],
  ttlMs?: number,
  requestId?: string,
): Promise<readonly Lease[]> {
  return leases.acquire(
    owners.map((owner) => claimOf(owner)),
    undefined,
    ttlMs,
    callerOf(requestId),
  );
}

export async function refusal(work: Promise<unknown>): Promise<AppError> {
  const error: unknown = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error instanceof AppError) return error;
  throw new Error('it was not refused', { cause: error });
}

export function kinds({ events }: AddressServices, address: string): string[] {
  return events.list({ address: ip(address) }, undefined, 100).map(({ kind }) => kind);
}

/** What the database and the bitmaps say must agree, and every lease has its MAC row. */
export function checkAgreement(t: Test, { journal, pools }: AddressServices): void {
  journal.read((stores) => {
    const leases = stores.leases.list({}, undefined, 10_000);
    const macs = stores.macs.list(undefined, 10_000).filter(({ leaseId }) => leaseId !== undefined);
    t.same(
      macs.map(({ mac, leaseId, owner }) => [mac, leaseId, owner]),
      [...leases].sort((a, b) => a.mac - b.mac).map(({ mac, id, owner }) => [mac, id, ownerKey(owner)]),
    );
    const fresh = PoolIndex.load(stores);
    for (const pool of pools.list()) {
      const want = fresh.findById(pool.reservation.id);
      t.equal(pool.bitmap.usedCount, want?.bitmap.usedCount, `${pool.reservation.name} in memory as in the database`);
    }
  });
}

/** What survives a store: keys without a value do not. */
export function plain(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value));
}
