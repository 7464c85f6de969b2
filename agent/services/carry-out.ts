import { refuseCreate } from '../../shared/domain/bridge.js';
import { AppError, notFound, wrongState } from '../../shared/errors.js';
import type { Order, OrderAction, RenameOrder } from '../domain/order.js';
import type { ObservedVif, ObservedVm } from '../domain/vm.js';
import type { Bridges } from '../ports/bridges.js';
import type { RestartLog } from '../ports/restart-log.js';
import type { Toolstack } from '../ports/toolstack.js';
import type { VmConfigurer } from './configure-vm.js';
import type { ConsoleServer } from './console-server.js';
import type { VmCopier } from './copy-vm.js';
import type { Observer } from './observe.js';
import type { LiveMigrator } from './live-migrator.js';
import type { VmReceiver } from './receive-vm.js';
import type { VmSender } from './send-vm.js';
import type { CarryOut, Outcome, ReportProgress } from './order-runner.js';
import type { VmRenamer } from './rename-vm.js';
import type { VmImager } from './vm-imager.js';
import type { VmLooker } from './vm-looker.js';
import type { VmMaker } from './vm-maker.js';
import type { VmSetter } from './vm-setter.js';

export interface CarryOutParts {
  readonly observer: Observer;
  readonly toolstack: Toolstack;
  readonly configurer: VmConfigurer;
  readonly copier: VmCopier;
  readonly maker: VmMaker;
  readonly consoles: Pick<ConsoleServer, 'open'>;
  readonly imager: VmImager;
  readonly sender: VmSender;
  readonly receiver: VmReceiver;
  readonly bridges: Bridges;
  readonly setter: VmSetter;
  readonly looker: VmLooker;
  readonly renamer: VmRenamer;
  readonly restarts: RestartLog;
  readonly live: LiveMigrator;
}

/**
 * Every action is about where the VM shall be, so that one which comes twice does nothing the second time: starting what
 * runs, or stopping what is stopped, is done.
 */
export function makeCarryOut({ observer, ...parts }: CarryOutParts): CarryOut {
  return async (order, progress, signal) => {
    const { action } = order;
    if (action.kind === 'receive') {
      const warnings = await parts.receiver.receive(order.vmKey, action, progress, signal);
      return { vm: await observer.find(order.vmKey), warnings };
    }
    if (action.kind === 'make') {
      const warnings = await parts.imager.make(order.vmKey, action, progress, signal);
      return { vm: await observer.find(order.vmKey), warnings };
    }
    if (action.kind === 'rename') return renameVm(order.vmKey, action, observer, { ...parts, progress, signal });
    if (action.kind === 'admit') {
      progress('look at its disks');
      const admission = await parts.live.admit(order.vmKey, action.migrationId, action.offer, signal);
      return { vm: await observer.find(order.vmKey), warnings: [], admission };
    }
    if (action.kind === 'settleArrival') {
      await parts.live.settleArrival(order.vmKey, action.migrationId, signal);
      return { vm: await observer.find(order.vmKey), warnings: [] };
    }
    if (action.kind === 'settleDeparture') {
      const left = await observer.find(order.vmKey);
      await parts.live.settleDeparture(left, action.migrationId, action.isMoved, signal);
      return { vm: await observer.find(order.vmKey), warnings: [] };
    }
    // Of a VM that is to be made there is only the one that it is made of.
    const key = action.kind === 'copy' ? action.sourceKey : order.vmKey;
    const vm = await observer.find(key);
    if (vm === undefined && action.kind === 'leave') return { vm: undefined, warnings: [] };
    if (vm === undefined) throw notFound(`There is no VM ${key} on this host`, { vmKey: key });
    // Told beside other orders of the VM: what it was before one of them is no news after it.
    if (action.kind === 'look') return { vm: undefined, warnings: [], look: await parts.looker.look(vm, signal) };
    if (action.kind === 'offer') {
      progress('look at its disks');
      return { vm, warnings: [], offer: await parts.live.offer(vm, action.migrationId, signal) };
    }
    if (action.kind === 'restart') {
      await restartVm(order.orderId, action, vm, observer, { ...parts, progress, signal });
      return { vm: await observer.find(order.vmKey), warnings: [] };
    }
    const warnings: string[] = [];
    await act({ ...order, action }, vm, { ...parts, progress, signal, warnings });
    return { vm: await observer.find(order.vmKey), warnings };
  };
}

async function renameVm(
  vmKey: string,
  order: RenameOrder,
  observer: Observer,
  { renamer, maker, progress, signal }: Omit<Means, 'warnings'>,
): Promise<Outcome> {
  const vm = await observer.find(vmKey);
  const named = await observer.find(order.cfgPath);
  if (vm === undefined && named?.name === order.name) return { vm: named, warnings: [] };
  if (vm === undefined) throw notFound(`There is no VM ${vmKey} on this host`, { vmKey });
  await maker.refuseBacking(vm, 'renamed');
  const warnings = await renamer.rename(vm, order, progress, signal);
  return { vm: await observer.find(order.cfgPath), warnings };
}

interface Means extends Omit<CarryOutParts, 'observer'> {
  readonly progress: ReportProgress;
  readonly signal: AbortSignal;
  /** For people, to be added to. */
  readonly warnings: string[];
}

/** Of a VM that is there. */
type ActOrder = Omit<Order, 'action'> & {
  readonly action: Exclude<
    OrderAction,
    | { kind: 'make' | 'receive' | 'look' | 'rename' | 'restart' }
    | { kind: 'offer' | 'admit' | 'settleArrival' | 'settleDeparture' }
  >;
};
type ShutdownAction = Extract<OrderAction, { kind: 'shutdown' | 'restart' }>;

async function act({ action, vmKey }: ActOrder, vm: ObservedVm, means: Means): Promise<void> {
  const { toolstack, progress, signal } = means;
  switch (action.kind) {
    case 'configure':
      await means.maker.refuseBacking(vm, 'addressed');
      means.warnings.push(...(await means.configurer.configure(vm, action, progress, signal)));
      return;
    case 'restoreFiles':
      await means.maker.refuseBacking(vm, 'given its former files');
      means.warnings.push(...(await means.configurer.restore(vm, progress, signal)));
      return;
    case 'copy':
      means.warnings.push(...(await means.copier.copy(vm, vmKey, action, progress, signal)));
      return;
    case 'remove':
      progress('remove cfg and disks');
      return means.maker.remove(vm);
    case 'set':
      means.warnings.push(...(await means.setter.set(vm, action, progress, signal)));
      return;
    case 'setAutostart':
      return means.setter.setAutostart(vm, action.isOn);
    case 'readStores':
      // StoreWatch answers it, and lets nothing of it pass.
      return;
    case 'openConsole':
      return means.consoles.open(vm.name, action);
    case 'send':
      if (action.isMoved) await means.maker.refuseShared(vm);
      return means.sender.send(vm, action, progress, signal);
    case 'handOver':
      return means.live.handOver(vm, action.migrationId, action.offer, action.admission, progress, signal);
    case 'leave':
      progress('remove cfg and disks: another host has them');
      means.warnings.push(...(await means.maker.leave(vm)));
      return;
    case 'start':
      return startVm(vm, means);
    case 'shutdown':
      if (!hasDomain(vm)) return;
      return shutDownVm(vm, action, means);
    case 'destroy':
      if (!hasDomain(vm)) return;
      progress('destroy');
      return toolstack.destroy(vm.name, signal);
    case 'reboot':
      refuseUnlessAwake(vm, 'rebooted');
      progress('ask the guest to reboot');
      return toolstack.reboot(vm.name, action.timeoutSeconds, signal);
    case 'pause':
      if (vm.state === 'paused') return;
      refuseUnlessAwake(vm, 'paused');
      return toolstack.pause(vm.name, signal);
    case 'unpause':
      if (vm.state === 'running') return;
      if (vm.state !== 'paused') throw wrongState(`${vm.name} is ${vm.state}, not paused`, { state: vm.state });
      return toolstack.unpause(vm.name, signal);
  }
}

async function shutDownVm(vm: ObservedVm, action: ShutdownAction, means: Omit<Means, 'warnings'>): Promise<void> {
  const { toolstack, progress, signal } = means;
  if (vm.state === 'paused' && !action.isDestroyedAfter) {
    const hint = `domherd vm unpause ${vm.name}`;
    throw wrongState(`${vm.name} is paused: it cannot hear the request`, { state: vm.state, hint });
  }
  progress('ask the guest to power off');
  try {
    await toolstack.shutdown(vm.name, action.timeoutSeconds, signal);
  } catch (error) {
    if (!action.isDestroyedAfter || !(error instanceof AppError) || error.code !== 'timeout') throw error;
    signal.throwIfAborted();
    progress('destroy: the guest ignores the request');
    await toolstack.destroy(vm.name, signal);
  }
}

/** The domain that there is when the order comes first is to end, none that is made after it. */
async function restartVm(
  orderId: string,
  action: ShutdownAction,
  vm: ObservedVm,
  observer: Observer,
  means: Omit<Means, 'warnings'>,
): Promise<void> {
  const { toolstack, restarts } = means;
  const cfgPath = await refuseUnstartable(vm, means);
  const domid = hasDomain(vm) ? await toolstack.domidOf(vm.name) : undefined;
  const begun = await restarts.find(cfgPath);
  const isBegun = begun?.orderId === orderId;
  if (!isBegun) await restarts.begin(cfgPath, { orderId, domid });
  if (domid === undefined || (isBegun && begun.domid !== domid)) return startVm(vm, means);
  await shutDownVm(vm, action, means);
  const ended = await observer.find(vm.key);
  if (ended === undefined) throw notFound(`${cfgPath} is gone since ${vm.name} was shut down`, { vmKey: vm.key });
  await startVm(ended, means);
}

/** A guest that is still booting hears a request when it is up. */
function refuseUnlessAwake(vm: ObservedVm, verb: string): void {
  if (vm.state === 'running' || vm.state === 'starting') return;
  const why = vm.problem ?? `it is ${vm.state}`;
  throw wrongState(`${vm.name} cannot be ${verb}: ${why}`, { state: vm.state });
}

async function startVm(vm: ObservedVm, means: Omit<Means, 'warnings'>): Promise<void> {
  const { toolstack, configurer, progress, signal } = means;
  if (vm.state === 'starting' || vm.state === 'running') return;
  if (vm.state !== 'stopped') throw unstartable(vm, `it is ${vm.state}`);
  const cfgPath = await refuseUnstartable(vm, means);
  await configurer.settle(cfgPath);
  progress('create');
  await toolstack.create(cfgPath, signal);
}

/** @returns the path of its cfg @throws {AppError} what keeps a domain from being made of it, were it stopped */
async function refuseUnstartable(vm: ObservedVm, { maker, bridges }: Omit<Means, 'warnings'>): Promise<string> {
  if (vm.problem !== undefined) throw unstartable(vm, vm.problem);
  if (vm.cfgPath === undefined) throw unstartable(vm, 'it has no cfg');
  const refusal = refuseCreate(vm.name, vm.vifs.map(bridgeOfVif), await bridges.readBridges());
  if (refusal) throw refusal;
  await maker.refuseBacking(vm, 'started');
  return vm.cfgPath;
}

function unstartable({ name, problem, state }: ObservedVm, why: string): AppError {
  return wrongState(`${name} cannot be started: ${problem ?? why}`, { state });
}

function bridgeOfVif({ index, bridge, script }: ObservedVif): Parameters<typeof refuseCreate>[1][number] {
  return { index, named: bridge, script };
}

/** Of `unknown` it is not known which domain is its: acting by name could hit another's. */
function hasDomain(vm: ObservedVm): boolean {
  if (vm.state === 'unknown')
    throw wrongState(`${vm.name} cannot be stopped: ${vm.problem ?? 'its state is not known'}`);
  return vm.state !== 'stopped';
}
