import type { Test } from 'tap';
import { AppError, type ErrorCode } from '../../shared/errors.js';
import { parseIpv4 } from '../../shared/domain/ipv4.js';
import { leasedMac } from '../../shared/domain/mac.js';
import type { NewEvent } from '../../controller/domain/event.js';
import type { Host } from '../../controller/domain/host.js';
import type { Lease, NewLease } from '../../controller/domain/lease.js';
import type { ReservationData } from '../../controller/domain/reservation.js';
import type { ObservedVm } from '../../controller/domain/vm.js';
import type { Database, Tx } from '../../controller/ports/store.js';

export type OpenStore = (t: Test) => Database;

export function aReservation(over: Partial<ReservationData> = {}): ReservationData {
  return {
    name: 'main',
    source: 'g5k-subnets',
    user: undefined,
    site: 'rennes',
    jobId: undefined,
    startsAtMs: 1000,
    endsAtMs: 9000,
    settings: {
      prefix: 14,
      broadcast: parseIpv4('10.159.255.255'),
      gateway: parseIpv4('10.159.255.254'),
      dns: [parseIpv4('255.255.255.255')],
      domain: undefined,
    },
    ranges: [{ first: parseIpv4('10.156.0.1'), last: parseIpv4('10.156.3.254') }],
    exclusions: [],
    ...over,
  };
}

/** A pending lease of a free name; `address` also gives the MAC. */
export function aLease(reservationId: number, address: string, over: Partial<NewLease> = {}): NewLease {
  const value = parseIpv4(address);
  return {
    reservationId,
    address: value,
    mac: leasedMac(value),
    owner: { kind: 'name', name: address },
    state: 'pending',
    createdAtMs: 1000,
    changedAtMs: 1000,
    expiresAtMs: over.state === undefined || over.state === 'quarantined' ? 5000 : undefined,
    ...over,
  };
}

export function aHost(name: string, over: Partial<Host> = {}): Omit<Host, 'id'> {
  return {
    name,
    deploymentId: 'd1',
    bootId: 'b1',
    sessionCounter: 1,
    sessionAddresses: ['127.0.0.1:7433'],
    isSimulated: false,
    joinedAtMs: 1000,
    lastSeenAtMs: undefined,
    revokedAtMs: undefined,
    clockOffsetMs: -0.5,
    facts: undefined,
    ...over,
  };
}

export function aVm(key: string, over: Partial<ObservedVm> = {}): ObservedVm {
  return {
    key,
    name: 'domU',
    cfgPath: key,
    uuid: undefined,
    state: 'stopped',
    memoryMib: 512,
    vcpus: 1,
    vifs: [{ index: 0, mac: undefined, bridge: 'br0', guestAddress: undefined }],
    problem: undefined,
    ...over,
  };
}

export function anEvent(over: Partial<NewEvent> = {}): NewEvent {
  return { atMs: 1000, kind: 'lease.acquired', message: 'a lease was given', actor: 'controller', ...over };
}

/** Inserts the leases into a reservation of their own name. */
export function withLeases(tx: Tx, name: string, leases: readonly (readonly [string, Partial<NewLease>?])[]): Lease[] {
  const { id } = tx.reservations.insert(aReservation({ name }));
  return leases.map(([address, over]) => tx.leases.insert(aLease(id, address, over)));
}

export function throwsCode(t: Test, code: ErrorCode, run: () => unknown, name: string): void {
  try {
    run();
  } catch (error) {
    t.equal(error instanceof AppError ? error.code : String(error), code, name);
    return;
  }
  t.fail(`${name}: nothing was thrown, ${code} was expected`);
}
