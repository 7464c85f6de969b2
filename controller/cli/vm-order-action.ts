import { VmServiceClient, type VmProgress } from '../../shared/gen/domherd/v1/vm.js';
import { callStream } from '../../shared/grpc/client.js';
import { confirm } from './confirm.js';
import { withClient } from './connection.js';
import type { Invocation } from './invocation.js';
import { selectorOf } from './selection.js';
import { showProgress } from './vm-progress.js';

export interface SelectionOptions {
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
export function order(
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
