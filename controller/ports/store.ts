import type { Ipv4 } from '../../shared/domain/ipv4.js';
import type { Labels } from '../../shared/domain/label.js';
import type { Mac } from '../../shared/domain/mac.js';
import type { Event, EventFilter, NewEvent } from '../domain/event.js';
import type { Host } from '../domain/host.js';
import type { Lease, LeaseId, LeaseState, NewLease, OwnerKey, VmId } from '../domain/lease.js';
import type { Reservation, ReservationData, ReservationId } from '../domain/reservation.js';
import type { HostId, ObservedVm, Vm } from '../domain/vm.js';
import type { NewVmJob, VmJob, VmJobId } from '../domain/vm-job.js';

/**
 * The database. Everything is synchronous: a transaction is one turn of the event loop.
 *
 * Invariants:
 * - What `write` returned is on the disk (synchronous=FULL).
 * - An error thrown out of `write` left nothing behind.
 * - Every method throws AppError `unavailable` when the file is locked, full or read-only, `wrong_state` when it is corrupt.
 */
export interface Database {
  /** One IMMEDIATE transaction; `work` throws: rolled back and rethrown. Not to be nested. */
  write<T>(work: (tx: Tx) => T): T;
  /** Reads without a write transaction. */
  read<T>(work: (stores: Stores) => T): T;
  close(): void;
}

export interface Stores {
  readonly reservations: ReservationStore;
  readonly leases: LeaseStore;
  readonly macs: MacStore;
  readonly hosts: HostStore;
  readonly vms: VmStore;
  readonly labels: LabelStore;
  readonly jobs: VmJobStore;
  readonly events: EventStore;
  readonly requests: RequestStore;
  readonly tokens: TokenStore;
  readonly identities: IdentityStore;
}

export interface Tx extends Stores {
  /** A part that undoes only itself: `work` throws, then what it wrote is undone and the error rethrown. */
  savepoint<T>(work: () => T): T;
  /** Runs, newest first, when what was written since is undone: by a savepoint, a rollback or a COMMIT that failed. */
  onUndo(undo: () => void): void;
  /** Runs, oldest first, once the transaction is durable. Must not throw. */
  onCommitted(act: () => void): void;
}

export interface ReservationStore {
  insert(data: ReservationData): Reservation;
  /** @throws {AppError} `not_found` */
  update(reservation: Reservation): void;
  remove(id: ReservationId): void;
  findByName(name: string): Reservation | undefined;
  findById(id: ReservationId): Reservation | undefined;
  /** By start, then name. */
  list(): readonly Reservation[];
}

/** A row for every address that is not free. UNIQUE over addresses is the last guard. */
export interface LeaseStore {
  /** @throws {AppError} `raced` when the address, the MAC or (pending and bound) the owner in this reservation has a row */
  insert(lease: NewLease): Lease;
  /** Writes state, owner, MAC, times; the revision goes up by one. @throws {AppError} `raced` if the revision is not the present one */
  update(lease: Lease): Lease;
  remove(id: LeaseId): void;
  findById(id: LeaseId): Lease | undefined;
  findByAddress(address: Ipv4): Lease | undefined;
  findByMac(mac: Mac): Lease | undefined;
  /** The pending or bound lease of an owner in a reservation: at most one. */
  findHeld(reservationId: ReservationId, owner: OwnerKey): Lease | undefined;
  /** The newest quarantined lease of an owner in a reservation. */
  findResting(reservationId: ReservationId, owner: OwnerKey): Lease | undefined;
  /** All leases of a VM's vifs, in any state. */
  listByVm(vmId: VmId): readonly Lease[];
  /** By address. `after` is exclusive. @param limit 1 to 10,000 */
  list(filter: LeaseFilter, after: Ipv4 | undefined, limit: number): readonly Lease[];
  /** Pending and quarantined ones whose end is at or before `nowMs`, earliest first. */
  listDue(nowMs: number, limit: number): readonly Lease[];
  /** Bound and pending leases of reservations that ended at or before `nowMs`. */
  listOverdue(nowMs: number, limit: number): readonly Lease[];
  /** Every address of any reservation that has a lease and lies in first..last (inclusive), ascending. */
  addressesBetween(first: Ipv4, last: Ipv4): readonly Ipv4[];
  countByState(reservationId: ReservationId): Readonly<Record<LeaseState, number>>;
  /** The owners with the most leases of a reservation, most first. */
  topOwners(
    reservationId: ReservationId,
    limit: number,
  ): readonly { readonly owner: OwnerKey; readonly count: number }[];
  /** When the first pending or quarantined lease of a reservation ends. */
  nextEnd(reservationId: ReservationId): number | undefined;
}

export interface LeaseFilter {
  readonly reservationId?: ReservationId | undefined;
  readonly states?: readonly LeaseState[] | undefined;
  readonly address?: Ipv4 | undefined;
  readonly mac?: Mac | undefined;
}

export const MAC_REASONS = ['leased', 'kept', 'random', 'chosen'] as const;
export type MacReason = (typeof MAC_REASONS)[number];

/** A MAC in use: by a lease, or claimed without one. The MAC is the primary key. */
export interface MacEntry {
  readonly mac: Mac;
  readonly reason: MacReason;
  readonly owner: OwnerKey;
  readonly leaseId: LeaseId | undefined;
  readonly atMs: number;
}

export interface MacStore {
  /** @throws {AppError} `raced` when it has a row */
  insert(entry: MacEntry): void;
  find(mac: Mac): MacEntry | undefined;
  /** The claim of an owner without a lease. */
  findClaim(owner: OwnerKey): MacEntry | undefined;
  remove(mac: Mac): void;
  /** By MAC. `after` is exclusive. */
  list(after: Mac | undefined, limit: number): readonly MacEntry[];
}

export interface HostStore {
  insert(host: Omit<Host, 'id'>): Host;
  /** @throws {AppError} `not_found` */
  update(host: Host): void;
  /** Its VMs have to be removed before. */
  remove(id: HostId): void;
  findByName(name: string): Host | undefined;
  findById(id: HostId): Host | undefined;
  /** By name. */
  list(): readonly Host[];
}

export interface VmStore {
  /** Keyed by (host, key): inserts or replaces the observation; the id stays. */
  observe(hostId: HostId, vm: ObservedVm, nowMs: number): Vm;
  /** To another host, as it is seen there; the id stays. @throws {AppError} `raced` when there is a row of that key there */
  move(vm: Vm): void;
  /** Marks it gone; the row stays. */
  markGone(id: VmId): void;
  remove(id: VmId): void;
  findById(id: VmId): Vm | undefined;
  findByKey(hostId: HostId, key: string): Vm | undefined;
  listByHost(hostId: HostId): readonly Vm[];
  list(): readonly Vm[];
}

/** Labels of VMs; they go with the VM's row. */
export interface LabelStore {
  /** In the place of those that it has. @throws {AppError} `wrong_state` if there is no such VM */
  set(vmId: VmId, labels: Labels): void;
  find(vmId: VmId): Labels;
  /** Of all VMs that have any. */
  list(): ReadonlyMap<VmId, Labels>;
}

/**
 * What is being done with VMs, and outlives the controller: written before the first order is sent. A name has one live job of
 * a kind: UNIQUE is the last guard.
 */
export interface VmJobStore {
  /** @throws {AppError} `raced` when there is a live job of that kind for that name */
  insert(job: NewVmJob): VmJob;
  /** What all jobs of a request have in common; it stays as it was first. */
  keepShared(requestId: string, data: string): void;
  /** As long as the request has jobs. */
  findShared(requestId: string): string | undefined;
  /** @returns false when there is none: its host was removed */
  setState(id: VmJobId, state: VmJob['state'], nowMs: number): boolean;
  /** Ends it. @param outcome JSON; takes the place of what was to be done. @returns as setState */
  end(id: VmJobId, state: 'done' | 'undone', outcome: string, nowMs: number): boolean;
  find(id: VmJobId): VmJob | undefined;
  findLive(kind: string, name: string): VmJob | undefined;
  /** By id, whatever became of them. */
  listByRequest(requestId: string): readonly VmJob[];
  /** By id. */
  listLive(kind: string): readonly VmJob[];
  /** Forgets it. */
  remove(id: VmJobId): void;
  /** Drops ended ones that are older than `beforeMs`, at most `limit`. */
  prune(beforeMs: number, limit: number): number;
}

export interface EventStore {
  append(event: NewEvent): Event;
  /** Ascending ids. `after` is exclusive; `undefined`: the newest `limit`. @param limit 1 to 1,000 */
  list(filter: EventFilter, after: number | undefined, limit: number): readonly Event[];
  /** 0 when there is none. */
  lastId(): number;
  /** Drops events older than `beforeMs`, at most `limit`. */
  prune(beforeMs: number, limit: number): number;
}

/** Answers by request id, so that a repeated request gets the same answer. */
export interface RequestRecord {
  readonly requestId: string;
  /** gRPC method and a digest of the request: the same id with another is refused. */
  readonly fingerprint: string;
  /** JSON. */
  readonly answer: string;
  readonly atMs: number;
}

export interface RequestStore {
  find(requestId: string): RequestRecord | undefined;
  insert(record: RequestRecord): void;
  /** Drops records older than `beforeMs`, at most `limit`. */
  prune(beforeMs: number, limit: number): number;
}

/** A join token; the secret itself is never stored. */
export interface JoinToken {
  readonly id: number;
  /** SHA-256 of the secret, hex. */
  readonly secretHash: string;
  /** Host name, or a pattern with `*`. */
  readonly hostPattern: string;
  readonly usesLeft: number;
  readonly expiresAtMs: number;
  /** Where hosts dial that join with it; none: what the controller advertises. */
  readonly sessionAddresses: readonly string[];
}

export interface TokenStore {
  insert(token: Omit<JoinToken, 'id'>): JoinToken;
  findByHash(secretHash: string): JoinToken | undefined;
  /** One use less, and remembers for which host and public key (SHA-256 of its SPKI, hex). */
  use(id: number, host: string, keyHash: string): void;
  /** Whether this token was used by this very host and key: a lost reply, asked again. */
  wasUsed(id: number, host: string, keyHash: string): boolean;
  prune(beforeMs: number): number;
}

/** A certificate that the CA signed. */
export interface Identity {
  readonly serial: string;
  readonly role: 'agent' | 'admin';
  /** Host name or client name. */
  readonly name: string;
  readonly issuedAtMs: number;
  readonly expiresAtMs: number;
  readonly revokedAtMs: number | undefined;
}

export interface IdentityStore {
  insert(identity: Identity): void;
  find(serial: string): Identity | undefined;
  listByName(role: Identity['role'], name: string): readonly Identity[];
  /** Every certificate of that name; returns their serials. */
  revoke(role: Identity['role'], name: string, nowMs: number): readonly string[];
  /** Serials of all that are revoked and not yet over. */
  listRevoked(nowMs: number): readonly string[];
  prune(beforeMs: number): number;
}
