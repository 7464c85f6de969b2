import { formatIpv4 } from '../../shared/domain/ipv4.js';
import { wrongState, type AppError } from '../../shared/errors.js';
import type { Caller } from '../domain/caller.js';
import { ownerKey, type Lease } from '../domain/lease.js';
import { judgeStart, wireClaimsOf, type Rival, type StartVerdict, type WireClaim } from '../domain/start-gate.js';
import { mayBeOnWire, type Vm } from '../domain/vm.js';
import type { VmSelector } from '../domain/vm-selector.js';
import type { Clock } from '../ports/environment.js';
import type { Stores } from '../ports/store.js';
import type { Fleet } from './fleet.js';
import type { Journal } from './journal.js';
import type { KeyedQueue } from './keyed-queue.js';
import { expectDone, type VmOperator } from './vm-operator.js';
import { runEach, type Tell, type VmProgress, type VmResult } from './vm-progress.js';
import type { OrderAnswer } from './order-book.js';
import type { VmQuery } from './vm-query.js';

export interface StartRequest {
  readonly selector: VmSelector;
  /** Start although the gate says no. */
  readonly force: boolean;
  readonly isDryRun: boolean;
}

export interface RestartHow {
  /** Until the guest has powered off: 1 to 3,600. */
  readonly timeoutSeconds: number;
  readonly isDestroyedAfter: boolean;
}

export interface VmStarterOptions {
  readonly fleet: Fleet;
  readonly query: VmQuery;
  readonly operator: VmOperator;
  readonly journal: Journal;
  readonly clock: Clock;
  readonly turns: KeyedQueue<Vm['id']>;
}

/** xl's own limit for a create is 300 s (design: one lock per host); the rest is for waiting in its line. */
const START_MS = 600_000;
/** For the agent to see that the guest is gone, and to destroy it, after its own patience. */
const SHUTDOWN_MARGIN_MS = 150_000;
const PARALLEL = 64;
const START = { kind: 'start' } as const;

/**
 * Starts VMs through the gate.
 *
 * Invariant: from the verdict until the host has told of the VM's new state, its MACs and addresses are claimed; no other
 * start passes the gate with one of them, of whatever request.
 */
export class VmStarter {
  private readonly options: VmStarterOptions;
  private readonly starting = new Map<string, Vm>();

  constructor(options: VmStarterOptions) {
    this.options = options;
  }

  async *start(request: StartRequest, caller: Caller, signal: AbortSignal): AsyncGenerator<VmProgress> {
    const vms = this.options.query.select(request.selector);
    const { plan, refusals } = this.plan(vms, request.force);
    yield plan;
    if (request.isDryRun) {
      yield* this.options.operator.foresee(vms, refusals);
      return;
    }
    const { operator } = this.options;
    yield* runEach(vms, PARALLEL, signal, (vm, tell, stop) =>
      this.startInTurn(vm, request.force, caller, tell, () =>
        operator.orderOnce(caller, vm, START, START_MS, stop, tell),
      ),
    );
  }

  /** Why the gate would not let the VM start, were it stopped. */
  objection(vm: Vm): AppError | undefined {
    const { verdict } = this.judge(vm, this.starting);
    return verdict.objections.length > 0 ? gateError(this.options.fleet.label(vm), verdict) : undefined;
  }

  /** For one who does more with the VM than its caller's request says: what he undoes and does anew is started anew. */
  startNow(vm: Vm, caller: Caller, tell: Tell, signal: AbortSignal): Promise<VmResult> {
    const send = (): Promise<OrderAnswer> => this.options.operator.order(vm, START, START_MS, signal, tell);
    return this.startInTurn(vm, false, caller, tell, send);
  }

  /**
   * Shuts it down, unless it is stopped, and starts it; for one who has the VM's turn. Once its host has been told, nobody
   * takes it back.
   *
   * @throws {AppError} what stands against it, or came of it
   */
  async restartNow(
    vm: Vm,
    { timeoutSeconds, isDestroyedAfter }: RestartHow,
    caller: Caller,
    tell: Tell,
    signal: AbortSignal,
  ): Promise<VmResult> {
    const { operator, fleet } = this.options;
    if (vm.problem !== undefined) throw unmanageable(vm, `VM ${fleet.label(vm)}`);
    const action = { kind: 'restart', timeoutSeconds, isDestroyedAfter } as const;
    const limitMs = timeoutSeconds * 1000 + SHUTDOWN_MARGIN_MS + START_MS;
    const send = (): Promise<OrderAnswer> =>
      operator.orderOnce(caller, vm, action, limitMs, signal, tell, { isFinal: true });
    const { isAgain } = await this.throughGate(vm, false, caller, tell, send);
    await operator.recordDone(caller, vm, 'vm.restarted', 'restarted', isAgain);
    return operator.done(vm, 'restarted');
  }

  /** @returns why each may not start, too */
  private plan(
    vms: readonly Vm[],
    force: boolean,
  ): { readonly plan: VmProgress; readonly refusals: readonly (AppError | undefined)[] } {
    const { operator, fleet } = this.options;
    const planned = new Map(this.starting);
    const steps = [];
    const warnings: string[] = [];
    const refusals: (AppError | undefined)[] = [];
    for (const vm of vms) {
      const label = `VM ${fleet.label(vm)}`;
      const refusal = operator.refusal(vm) ?? refuseState(vm, label);
      if (refusal) warnings.push(refusal.message);
      if (refusal || isUp(vm)) {
        refusals.push(refusal);
        continue;
      }
      const { claims, verdict } = this.judge(vm, planned);
      warnings.push(...verdict.warnings.map((warning) => `${label}: ${warning}`));
      warnings.push(...verdict.objections.map(({ message }) => `${label}: ${message}`));
      const isRefused = verdict.objections.length > 0 && !force;
      refusals.push(isRefused ? gateError(fleet.label(vm), verdict) : undefined);
      if (isRefused) continue;
      for (const claim of claims) planned.set(claimKey(claim), vm);
      steps.push(operator.plan(vm, 'start', verdict.objections.length > 0 ? 'forced' : ''));
    }
    return { plan: { kind: 'plan', steps, warnings }, refusals };
  }

  private startInTurn(
    vm: Vm,
    force: boolean,
    caller: Caller,
    tell: Tell,
    send: () => Promise<OrderAnswer>,
  ): Promise<VmResult> {
    const { operator, turns } = this.options;
    const work = (): Promise<VmResult> => this.startOne(vm, force, caller, tell, send);
    return operator.guard(caller, vm, 'start', () => turns.run(vm.id, work));
  }

  private async startOne(
    selected: Vm,
    force: boolean,
    caller: Caller,
    tell: Tell,
    send: () => Promise<OrderAnswer>,
  ): Promise<VmResult> {
    const { operator, fleet } = this.options;
    const vm = operator.present(selected);
    const label = `VM ${fleet.label(vm)}`;
    const refusal = operator.refusal(vm) ?? refuseState(vm, label);
    if (refusal) throw refusal;
    if (isUp(vm)) return operator.done(vm, `already ${vm.state}`);
    const { isAgain } = await this.throughGate(vm, force, caller, tell, () => {
      tell(operator.step(vm, 'starting'));
      return send();
    });
    await operator.recordDone(caller, vm, 'vm.started', 'started', isAgain);
    return operator.done(vm, 'started');
  }

  /** @param send the order that puts the VM on the wire @throws {AppError} what stands against it, or what came of it */
  private async throughGate(
    vm: Vm,
    force: boolean,
    caller: Caller,
    tell: Tell,
    send: () => Promise<OrderAnswer>,
  ): Promise<Extract<OrderAnswer, { kind: 'done' }>> {
    const { operator, fleet } = this.options;
    const { claims, verdict } = this.judge(vm, this.starting);
    if (verdict.objections.length > 0 && !force) throw gateError(fleet.label(vm), verdict);
    const release = this.claim(vm, claims);
    try {
      for (const warning of verdict.warnings) tell(operator.step(vm, `warning: ${warning}`));
      if (verdict.objections.length > 0) await this.recordForced(caller, vm, verdict);
      const answer = await send();
      // It may be on the wire: until its host says otherwise, nobody else may start with what it has.
      if (answer.kind === 'unknown' || (answer.kind === 'done' && !answer.vm)) await fleet.distrust(vm);
      return expectDone(answer);
    } finally {
      release();
    }
  }

  private judge(
    vm: Vm,
    starting: ReadonlyMap<string, Vm>,
  ): { readonly claims: readonly WireClaim[]; readonly verdict: StartVerdict } {
    const { journal, clock } = this.options;
    return journal.read((stores) => {
      const leases = stores.leases.listByVm(vm.id);
      const claims = wireClaimsOf(vm, leases);
      const rivals = claims.flatMap((claim) => this.rivalsFor(vm, claim, starting, stores));
      const reservations = new Map(stores.reservations.list().map((each) => [each.id, each]));
      return { claims, verdict: judgeStart({ vm, leases, rivals, reservations }, clock.nowMs()) };
    });
  }

  private rivalsFor(vm: Vm, claim: WireClaim, starting: ReadonlyMap<string, Vm>, stores: Stores): Rival[] {
    const { fleet } = this.options;
    const users = claim.kind === 'mac' ? fleet.vms.byMac(claim.mac) : fleet.vms.byAddress(claim.address);
    const live = users.find((other) => other.id !== vm.id && !other.isGone && mayBeOnWire(other.state));
    const starter = starting.get(claimKey(claim));
    const lease =
      claim.kind === 'mac' ? stores.leases.findByMac(claim.mac) : stores.leases.findByAddress(claim.address);
    const rivals: Rival[] = [];
    if (live) rivals.push({ claim, how: 'live', by: fleet.label(live) });
    if (starter && starter.id !== vm.id) rivals.push({ claim, how: 'starting', by: fleet.label(starter) });
    if (lease && !isOwn(lease, vm, claim)) {
      rivals.push({ claim, how: lease.state, by: fleet.describeOwner(lease.owner) });
    }
    return rivals;
  }

  private claim(vm: Vm, claims: readonly WireClaim[]): () => void {
    const keys = claims.map(claimKey).filter((key) => !this.starting.has(key));
    for (const key of keys) this.starting.set(key, vm);
    return () => keys.forEach((key) => this.starting.delete(key));
  }

  private recordForced(caller: Caller, vm: Vm, verdict: StartVerdict): Promise<void> {
    const { journal, operator, fleet } = this.options;
    const reasons = verdict.objections.map(({ message }) => message).join('; ');
    const message = `VM ${fleet.label(vm)} is started by force, although ${reasons}`;
    return journal.submit((tx) =>
      operator.record(tx, caller, vm, { kind: 'vm.start-forced', message, details: { reasons } }),
    );
  }
}

function isOwn(lease: Lease, vm: Vm, claim: WireClaim): boolean {
  return ownerKey(lease.owner) === ownerKey({ kind: 'vif', vmId: vm.id, vifIndex: claim.vifIndex });
}

function claimKey(claim: WireClaim): string {
  return claim.kind === 'mac' ? `mac ${String(claim.mac)}` : `address ${formatIpv4(claim.address)}`;
}

function refuseState(vm: Vm, label: string): AppError | undefined {
  if (vm.problem !== undefined) return unmanageable(vm, label);
  if (isUp(vm) || vm.state === 'stopped') return undefined;
  const hint = vm.state === 'crashed' ? 'destroy it first' : 'wait until it is stopped';
  return wrongState(`${label} is ${vm.state}`, { vm: vm.name, state: vm.state, hint });
}

function unmanageable({ name, problem = '' }: Vm, label: string): AppError {
  return wrongState(`${label} cannot be managed: ${problem}`, { vm: name });
}

/** There is nothing to start. */
function isUp({ state }: Vm): boolean {
  return state === 'running' || state === 'starting';
}

function gateError(name: string, verdict: StartVerdict): AppError {
  const [first] = verdict.objections;
  const message = verdict.objections.map((objection) => objection.message).join('; ');
  return wrongState(`VM ${name} may not start: ${message}`, {
    reason: first?.reason ?? '',
    // The gate knows no hosts; ready to be typed it needs one.
    hint: first?.hint.replace(/domherd vm address$/, `domherd vm address ${name}`) ?? '',
  });
}
