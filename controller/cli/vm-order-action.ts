import { notFound } from '../../shared/errors.js';
import { Placement, VmServiceClient, type VmProgress } from '../../shared/gen/domherd/v1/vm.js';
import { callStream, callUnary } from '../../shared/grpc/client.js';
import { confirm } from './confirm.js';
import { withClient } from './connection.js';
import type { Invocation } from './invocation.js';
import { CALL } from './limit.js';
import { selectorOf } from './selection.js';
import { vmName } from './view/vm-view.js';
import { showProgress } from './vm-progress.js';

interface SelectionOptions {
  readonly all?: boolean;
  readonly dryRun?: boolean;
}

export interface AddressOptions extends SelectionOptions {
  readonly reservation?: string;
  readonly address?: string;
  readonly bridge?: string;
}

export interface StartOptions extends SelectionOptions {
  readonly force?: boolean;
}

export interface ShutdownOptions extends SelectionOptions {
  /** Milliseconds. */
  readonly timeout?: number;
  readonly then?: 'leave' | 'destroy';
}

export interface RebootOptions extends SelectionOptions {
  /** Milliseconds. */
  readonly timeout?: number;
}

export type PauseOptions = SelectionOptions;

export interface DestroyOptions extends SelectionOptions {
  readonly yes?: boolean;
}

export type RestoreFilesOptions = DestroyOptions;

/** Ctrl-C ends the call, and with it what has not begun. */
function order(
  call: Invocation,
  options: SelectionOptions,
  send: (client: VmServiceClient, signal: AbortSignal) => AsyncIterable<VmProgress>,
): Promise<number> {
  return withClient(call, VmServiceClient, (client) =>
    showProgress(call, send(client, call.world.signal), options.dryRun ?? false),
  );
}

export async function addressVms(call: Invocation, names: readonly string[], options: AddressOptions): Promise<number> {
  const request = {
    requestId: call.requestId,
    selector: selectorOf(names, options.all),
    reservation: options.reservation ?? '',
    dryRun: options.dryRun ?? false,
    address: options.address,
    bridge: options.bridge ?? '',
  };
  return order(call, options, (client, signal) => callStream(client.address.bind(client), request, { signal }));
}

export async function startVms(call: Invocation, names: readonly string[], options: StartOptions): Promise<number> {
  const request = {
    requestId: call.requestId,
    selector: selectorOf(names, options.all),
    force: options.force ?? false,
    dryRun: options.dryRun ?? false,
  };
  return order(call, options, (client, signal) => callStream(client.start.bind(client), request, { signal }));
}

export async function shutdownVms(
  call: Invocation,
  names: readonly string[],
  options: ShutdownOptions,
): Promise<number> {
  const request = {
    requestId: call.requestId,
    selector: selectorOf(names, options.all),
    timeoutSeconds: secondsOf(options.timeout),
    dryRun: options.dryRun ?? false,
    destroyAfter: options.then === 'destroy',
  };
  return order(call, options, (client, signal) => callStream(client.shutdown.bind(client), request, { signal }));
}

export async function destroyVms(call: Invocation, names: readonly string[], options: DestroyOptions): Promise<number> {
  const selector = selectorOf(names, options.all);
  if (!options.dryRun)
    await confirm(call, `cut the power of ${options.all ? 'all VMs' : names.join(' ')}`, options.yes);
  const request = { requestId: call.requestId, selector, dryRun: options.dryRun ?? false };
  return order(call, options, (client, signal) => callStream(client.destroy.bind(client), request, { signal }));
}

export async function restoreVmFiles(
  call: Invocation,
  names: readonly string[],
  options: RestoreFilesOptions,
): Promise<number> {
  const selector = selectorOf(names, options.all);
  const whose = options.all ? 'all VMs' : names.join(' ');
  if (!options.dryRun) await confirm(call, `give ${whose} their former files and release their addresses`, options.yes);
  const request = { requestId: call.requestId, selector, dryRun: options.dryRun ?? false };
  return order(call, options, (client, signal) => callStream(client.restoreFiles.bind(client), request, { signal }));
}

export interface CreateOptions {
  readonly like?: string;
  readonly count?: number;
  readonly on?: readonly string[];
  readonly pack?: boolean;
  readonly memory?: number;
  readonly vcpus?: number;
  readonly reservation?: string;
  readonly bridge?: string;
  readonly dryRun?: boolean;
}

export function createVms(call: Invocation, [name = '']: readonly string[], options: CreateOptions): Promise<number> {
  const request = {
    requestId: call.requestId,
    name,
    count: options.count,
    like: options.like ?? '',
    hosts: [...(options.on ?? [])],
    placement: options.pack ? Placement.PACK : Placement.SPREAD,
    memoryMib: options.memory ?? 0,
    vcpus: options.vcpus ?? 0,
    reservation: options.reservation ?? '',
    bridge: options.bridge ?? '',
    dryRun: options.dryRun ?? false,
  };
  return order(call, options, (client, signal) => callStream(client.create.bind(client), request, { signal }));
}

/** Of one VM, wherever that is. */
export async function cloneVms(
  call: Invocation,
  [source = '', name = '']: readonly string[],
  options: CreateOptions,
): Promise<number> {
  const { vm } = await withClient(call, VmServiceClient, (client) =>
    callUnary(client.get.bind(client), { name: source }, CALL),
  );
  if (vm === undefined) throw notFound(`the controller told nothing of VM ${source}`);
  return createVms(call, [name], { ...options, like: vmName(vm) });
}

export async function deleteVms(call: Invocation, names: readonly string[], options: DestroyOptions): Promise<number> {
  const selector = selectorOf(names, options.all);
  if (!options.dryRun) {
    await confirm(call, `delete ${options.all ? 'all VMs' : names.join(' ')}, with their disks`, options.yes);
  }
  const request = { requestId: call.requestId, selector, dryRun: options.dryRun ?? false };
  return order(call, options, (client, signal) => callStream(client.delete.bind(client), request, { signal }));
}

export async function rebootVms(call: Invocation, names: readonly string[], options: RebootOptions): Promise<number> {
  const request = {
    requestId: call.requestId,
    selector: selectorOf(names, options.all),
    timeoutSeconds: secondsOf(options.timeout),
    dryRun: options.dryRun ?? false,
  };
  return order(call, options, (client, signal) => callStream(client.reboot.bind(client), request, { signal }));
}

export async function pauseVms(
  verb: 'pause' | 'unpause',
  call: Invocation,
  names: readonly string[],
  options: PauseOptions,
): Promise<number> {
  const selector = selectorOf(names, options.all);
  const request = { requestId: call.requestId, selector, dryRun: options.dryRun ?? false };
  return order(call, options, (client, signal) => callStream(client[verb].bind(client), request, { signal }));
}

/** 0: the controller's default. @throws {AppError} `invalid` */
export function secondsOf(durationMs = 0): number {
  return Math.ceil(durationMs / 1_000);
}
