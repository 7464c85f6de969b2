import { formatIpv4, parseIpv4, type Ipv4 } from '../../shared/domain/ipv4.js';
import { hostnameFor } from '../../shared/domain/hostname.js';
import { formatMac, parseMac, type Mac } from '../../shared/domain/mac.js';
import { AppError } from '../../shared/errors.js';
import { planAddress, refuseAddress, type AddressFacts } from '../domain/address-plan.js';
import type { Caller } from '../domain/caller.js';
import { ownerKey, type Lease, type LeaseOwner, type VmId } from '../domain/lease.js';
import type { Reservation, ReservationId } from '../domain/reservation.js';
import type { Vm } from '../domain/vm.js';
import type { VmSelector } from '../domain/vm-selector.js';
import type { OrderAction } from '../ports/agent-link.js';
import type { Clock } from '../ports/environment.js';
import type { Stores, Tx } from '../ports/store.js';
import type { Fleet } from './fleet.js';
import type { Journal } from './journal.js';
import type { KeyedQueue } from './keyed-queue.js';
import type { LeaseService } from './lease-service.js';
import type { OrderAnswer } from './order-book.js';
import type { PoolIndex } from './pool-index.js';
import { orderError, type VmOperator } from './vm-operator.js';
import { runEach, type Tell, type VmProgress, type VmResult } from './vm-progress.js';
import type { VmQuery } from './vm-query.js';

export interface AddressRequest {
  readonly selector: VmSelector;
  /** `undefined`: the only active one. */
  readonly reservation: string | undefined;
  /** A chosen address; for one VM with one vif only. */
  readonly address: Ipv4 | undefined;
  /** For vifs whose cfg names no bridge that exists; `undefined`: the host's default. */
  readonly bridge?: string | undefined;
  readonly isDryRun: boolean;
}

export interface VmAddresserOptions {
  readonly fleet: Fleet;
  readonly query: VmQuery;
  readonly operator: VmOperator;
  readonly leases: LeaseService;
  readonly pools: PoolIndex;
  readonly journal: Journal;
  readonly clock: Clock;
  readonly turns: KeyedQueue<VmId>;
}

/** Checking and editing a guest's file system takes minutes on a large disk. */
const CONFIGURE_MS = 300_000;
const MAX_TRIES = 4;
/** In the host's line. */
const TURN_MS = CONFIGURE_MS;
/**
 * From each try on, so that no order ever writes an address that was freed meanwhile: the wait in line; then, should the link
 * break, the time in which the order is sent again; then the agent's own; and as much again for its undoing.
 */
const PENDING_MS = TURN_MS + 3 * CONFIGURE_MS;
const PARALLEL = 32;

/** One VM on its way to its addresses. */
interface Job {
  readonly vm: Vm;
  readonly reservation: Reservation;
  readonly address: Ipv4 | undefined;
  readonly bridge: string | undefined;
  readonly caller: Caller;
  readonly signal: AbortSignal;
  readonly tell: Tell;
  /** Leases that this job took, and gives back if it fails. */
  readonly taken: Map<Ipv4, TakenLease>;
}

interface TakenLease {
  readonly lease: Lease;
  /** What rested there for the same owner. */
  readonly before: Lease | undefined;
}

/**
 * Gives VMs their addresses: takes leases, has the host write cfg and guest, binds.
 *
 * Invariants:
 * - A lease is pending until the host has written it, and bound only then.
 * - A lease that this took and no host was told of for good is given back; one of which nobody knows runs out by itself.
 */
export class VmAddresser {
  private readonly options: VmAddresserOptions;

  constructor(options: VmAddresserOptions) {
    this.options = options;
  }

  async *address(request: AddressRequest, caller: Caller, signal: AbortSignal): AsyncGenerator<VmProgress> {
    const { query, operator, turns, journal, pools, clock } = this.options;
    const vms = query.select(request.selector);
    const { reservation } = pools.choose(request.reservation, clock.nowMs());
    const { address, bridge } = request;
    const facts = journal.read((stores) => vms.map((vm) => this.factsOf(stores, vm, reservation.id)));
    const plan = planAddress(facts, { reservation: reservation.name, address, bridge });
    yield { kind: 'plan', ...plan };
    if (request.isDryRun) {
      const refusals = facts.map((each) => operator.refuseMoving(each.vm) ?? refuseAddress(each, bridge));
      yield* operator.foresee(vms, refusals);
      return;
    }
    yield* runEach(vms, PARALLEL, signal, (vm, tell, stop) => {
      const job = { reservation, address, bridge, caller, signal: stop, tell, taken: new Map<Ipv4, TakenLease>() };
      return operator.guard(caller, vm, 'address', () =>
        turns.run(vm.id, () => this.addressOne({ ...job, vm: operator.present(vm) })),
      );
    });
  }

  private async addressOne(job: Job): Promise<VmResult> {
    const refusal = this.options.operator.refuseMoving(job.vm);
    if (refusal) throw refusal;
    for (let tries = 1; ; tries++) {
      const leases = await this.take(job);
      const answer = await this.configure(job, leases);
      if (answer.kind === 'done') return { ...(await this.bind(job, leases)), warnings: answer.warnings ?? [] };
      const inUse = tries < MAX_TRIES && !job.signal.aborted ? addressInUse(answer, leases) : undefined;
      if (inUse === undefined || job.address !== undefined) {
        await this.giveBack(job, answer, inUse);
        throw orderError(answer);
      }
      await this.decline(job, inUse);
    }
  }

  /** Leases for all vifs, all or none; what a vif holds already it keeps. */
  private async take(job: Job): Promise<readonly Lease[]> {
    const taken = await this.options.journal.submit((tx) => this.takeIn(tx, job));
    for (const each of taken) if (isNew(each, job.taken)) job.taken.set(each.lease.address, each);
    return taken.map(({ lease }) => lease);
  }

  private takeIn(tx: Tx, { vm, reservation, address, bridge, caller }: Job): readonly TakenLease[] {
    const { leases } = this.options;
    const refusal = refuseAddress(this.factsOf(tx, vm, reservation.id), bridge);
    if (refusal) throw refusal;
    const claims = vm.vifs.map((vif) => ({ owner: vifOwner(vm, vif.index), address }));
    const before = claims.map((claim) => leases.findBeforeIn(tx, claim, reservation));
    return leases.acquireIn(tx, claims, reservation, PENDING_MS, caller).map((lease, n) => {
      // Left over from a try of which nobody knows the end: it must not run out under this one.
      const isOld = before[n]?.state === 'pending';
      return { lease: isOld ? leases.changer.extend(tx, lease.address, PENDING_MS, caller) : lease, before: before[n] };
    });
  }

  private configure(job: Job, leases: readonly Lease[]): Promise<OrderAnswer> {
    const { vm, reservation, bridge, signal, tell } = job;
    const { operator } = this.options;
    const addresses = leases.map((lease) => formatIpv4(lease.address)).join(', ');
    tell(operator.step(vm, `writing ${addresses} into cfg and guest`));
    const action = configureAction(vm, leases, reservation, bridge);
    return operator.order(vm, action, CONFIGURE_MS, signal, tell, { turnWithinMs: TURN_MS });
  }

  private async bind(job: Job, leases: readonly Lease[]): Promise<VmResult> {
    const { vm, reservation, caller } = job;
    const { operator, journal, fleet } = this.options;
    const changes = leases.map((lease) => describeChange(vm, lease));
    await journal.submit((tx) => {
      this.options.leases.bindIn(
        tx,
        leases.map((lease) => lease.address),
        caller,
      );
      this.releaseFormer(tx, job);
      operator.record(tx, caller, vm, {
        kind: 'vm.addressed',
        message: `VM ${fleet.label(vm)} was addressed: ${changes.map(({ text }) => text).join('; ')}`,
        reservation: reservation.name,
        details: Object.fromEntries(changes.flatMap(({ facts }) => facts)),
      });
    });
    return operator.done(vm, changes.map(({ text }) => text).join('; '));
  }

  /** What its vifs had from other reservations: it stands in no file any more, and the VM is stopped. */
  private releaseFormer(tx: Tx, { vm, reservation, caller }: Job): void {
    const indices = new Set(vm.vifs.map((vif) => vif.index));
    const former = tx.leases
      .listByVm(vm.id)
      .filter((lease) => lease.reservationId !== reservation.id && isFormer(lease, indices))
      .map((lease) => lease.address);
    if (former.length > 0) this.options.leases.releaseIn(tx, former, caller, { force: false });
  }

  /** The wire says that somebody has the address: it is not given again, and the next try gets another. */
  private async decline(job: Job, inUse: AddressInUse): Promise<void> {
    const { vm, caller, tell, taken } = job;
    await this.options.journal.submit((tx) => this.options.leases.declineIn(tx, inUse.address, inUse.seenMac, caller));
    taken.delete(inUse.address);
    const by = inUse.seenMac === undefined ? 'somebody' : formatMac(inUse.seenMac);
    tell(this.options.operator.step(vm, `${by} uses ${formatIpv4(inUse.address)}: taking another address`));
  }

  private async giveBack(job: Job, answer: OrderAnswer, inUse: AddressInUse | undefined): Promise<void> {
    if (inUse) await this.decline(job, inUse);
    // It may have been written: it stays pending, and its owner gets it again or it runs out.
    if (answer.kind === 'unknown' || job.taken.size === 0) return;
    await this.options.journal.submit((tx) => {
      for (const { before, lease } of job.taken.values()) this.options.leases.undoIn(tx, before, lease, job.caller);
    });
  }

  private factsOf(stores: Stores, selected: Vm, reservationId: ReservationId): AddressFacts {
    const { fleet, operator } = this.options;
    const vm = operator.present(selected);
    const held = vm.vifs.flatMap(
      (vif) => stores.leases.findHeld(reservationId, ownerKey(vifOwner(vm, vif.index))) ?? [],
    );
    return {
      vm,
      host: fleet.hostName(vm.hostId),
      isReachable: fleet.isReachable(vm.hostId),
      held,
      bridges: fleet.bridgesOf(vm.hostId),
    };
  }
}

/** Whether it was not held before: given to nobody, or resting. */
function isNew({ lease, before }: TakenLease, known: ReadonlyMap<Ipv4, TakenLease>): boolean {
  return !known.has(lease.address) && (before === undefined || before.state === 'quarantined');
}

interface AddressInUse {
  readonly address: Ipv4;
  readonly seenMac: Mac | undefined;
}

/** What the wire said; `undefined` if the order failed for another reason. */
function addressInUse(answer: OrderAnswer, leases: readonly Lease[]): AddressInUse | undefined {
  if (answer.kind !== 'failed' || answer.code !== 'already_exists') return undefined;
  const address = parsed(answer.details['address'], parseIpv4);
  if (address === undefined || !leases.some((lease) => lease.address === address)) return undefined;
  return { address, seenMac: parsed(answer.details['seenMac'], parseMac) };
}

function parsed<T>(text: string | undefined, parse: (text: string) => T): T | undefined {
  if (text === undefined || text === '') return undefined;
  try {
    return parse(text);
  } catch (error) {
    if (error instanceof AppError) return undefined;
    throw error;
  }
}

function configureAction(
  vm: Vm,
  leases: readonly Lease[],
  { settings, endsAtMs }: Reservation,
  bridge: string | undefined,
): OrderAction {
  const vifs = vm.vifs.flatMap((vif, n) => {
    const lease = leases[n];
    const base = { index: vif.index, settings, hasDefaultRoute: n === 0, bridge, leaseEndsAtMs: endsAtMs };
    return lease ? [{ ...base, mac: lease.mac, address: lease.address }] : [];
  });
  return { kind: 'configure', vifs, hostname: hostnameFor(vm.name) };
}

function describeChange(
  vm: Vm,
  lease: Lease,
): { readonly text: string; readonly facts: readonly (readonly [string, string])[] } {
  const index = lease.owner.kind === 'vif' ? lease.owner.vifIndex : 0;
  const vif = vm.vifs.find((each) => each.index === index);
  const from = vif?.guestAddress === undefined ? 'unknown' : formatIpv4(vif.guestAddress);
  const fromMac = vif?.mac === undefined ? 'none' : formatMac(vif.mac);
  const [to, toMac] = [formatIpv4(lease.address), formatMac(lease.mac)];
  return {
    text: `vif ${index} ${from} -> ${to} (${toMac})`,
    facts: [
      [`vif${index}.address`, `${from} -> ${to}`],
      [`vif${index}.mac`, `${fromMac} -> ${toMac}`],
    ],
  };
}

function isFormer(lease: Lease, indices: ReadonlySet<number>): boolean {
  const isOfVif = lease.owner.kind === 'vif' && indices.has(lease.owner.vifIndex);
  return isOfVif && (lease.state === 'pending' || lease.state === 'bound' || lease.state === 'expired');
}

function vifOwner(vm: Vm, vifIndex: number): LeaseOwner {
  return { kind: 'vif', vmId: vm.id, vifIndex };
}
