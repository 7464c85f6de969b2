import { AppError, invalid } from '../../shared/errors.js';
import {
  LeaseServiceClient,
  LeaseState,
  type Lease,
  type LeaseHistoryRequest,
} from '../../shared/gen/domherd/v1/lease.js';
import { callStream, callUnary } from '../../shared/grpc/client.js';
import { confirm } from './confirm.js';
import { withClient } from './connection.js';
import { findVmId, printEvents } from './event-action.js';
import { ANY_EVENT, followEvents, newestEvents, type WatchEvents } from './follow.js';
import { isTable } from './format.js';
import type { Invocation } from './invocation.js';
import { CALL, LONG_CALL } from './limit.js';
import { parseCount } from './option.js';
import { printRows, tell, type View } from './output.js';
import { enumValue } from './view/enum-text.js';
import { leaseView } from './view/lease-view.js';

export interface LeaseListOptions {
  readonly reservation?: string;
  readonly state?: string;
  readonly watch?: boolean;
}

export interface AcquireOptions {
  readonly address?: string;
  readonly mac?: string;
  readonly reservation?: string;
  readonly count?: number;
}

export interface ReleaseOptions {
  readonly yes?: boolean;
  readonly force?: boolean;
}

const MOST_CLAIMS = 4_096;

export async function listLeases(call: Invocation, options: LeaseListOptions): Promise<number> {
  // Before the list, so that no change falls between both; one that comes after it and is in it is told again.
  const [newest] = options.watch ? await newestEvents(call, ANY_EVENT, 1) : [];
  const leases = await withClient(call, LeaseServiceClient, (client) => readLeases(client, options));
  printLeases(call, leases);
  if (!options.watch) return 0;
  return followEvents(call, watchOf(call, options.reservation ?? ''), newest?.id ?? 0n);
}

function watchOf(call: Invocation, reservation: string): WatchEvents {
  return (afterEvent, signal, show) =>
    withClient(call, LeaseServiceClient, async (client) => {
      const request = { reservation, afterEvent };
      for await (const { event } of callStream(client.watch.bind(client), request, { signal })) show(event);
    });
}

async function readLeases(client: LeaseServiceClient, options: LeaseListOptions): Promise<readonly Lease[]> {
  const state = options.state === undefined ? undefined : enumValue(LeaseState, options.state);
  const request = {
    reservation: options.reservation ?? '',
    states: state === undefined ? [] : [state],
    address: '',
    mac: '',
  };
  const leases: Lease[] = [];
  for await (const batch of callStream(client.list.bind(client), request, LONG_CALL)) leases.push(...batch.leases);
  return leases;
}

export async function nextAddresses(
  call: Invocation,
  count: string,
  options: { reservation?: string },
): Promise<number> {
  const request = { reservation: options.reservation ?? '', count: countOf(count) };
  const next = await withClient(call, LeaseServiceClient, (client) =>
    callUnary(client.next.bind(client), request, CALL),
  );
  const view: View<(typeof next.candidates)[number]> = {
    columns: [
      { title: 'ADDRESS', text: ({ address }) => address },
      { title: 'MAC', text: ({ mac }) => mac },
    ],
    json: ({ address, mac }) => ({ reservation: next.reservation, address, mac }),
    addresses: ({ address }) => [address],
  };
  printRows(call, next.candidates, view);
  return 0;
}

function countOf(text: string): number {
  try {
    return parseCount(text, 1, MOST_CLAIMS);
  } catch {
    throw invalid(`"${text}" is not a number of addresses`, {
      hint: `give 1 to ${String(MOST_CLAIMS)}: domherd lease next 3`,
    });
  }
}

export async function leaseHistory(call: Invocation, subject: string): Promise<number> {
  const request = await historyRequest(call, subject);
  const { events } = await withClient(call, LeaseServiceClient, (client) =>
    callUnary(client.history.bind(client), request, CALL),
  );
  printEvents(call, events);
  return 0;
}

/** An address, a MAC, a VM, or else the name of an owner. */
async function historyRequest(call: Invocation, subject: string): Promise<LeaseHistoryRequest> {
  const request = { address: '', mac: '', ownerName: '', vmId: 0, limit: 0 };
  if (/^\d+\.\d+\.\d+\.\d+$/.test(subject)) return { ...request, address: subject };
  if (/^([0-9a-f]{2}[:-]){5}[0-9a-f]{2}$/i.test(subject)) return { ...request, mac: subject };
  try {
    return { ...request, vmId: await findVmId(call, subject) };
  } catch (error) {
    if (!(error instanceof AppError) || error.code !== 'not_found' || subject.includes('@')) throw error;
    return { ...request, ownerName: subject };
  }
}

export async function acquireLeases(call: Invocation, name: string, options: AcquireOptions): Promise<number> {
  if (options.count !== undefined && (options.address ?? options.mac) !== undefined) {
    throw invalid('--address and --mac are for one lease, --count is for many', { hint: 'leave one of them out' });
  }
  const names =
    options.count === undefined ? [name] : Array.from({ length: options.count }, (_, n) => `${name}-${String(n + 1)}`);
  const claims = names.map((value) => ({
    owner: { owner: { $case: 'name' as const, value } },
    address: options.address,
    mac: options.mac,
  }));
  const request = { requestId: call.requestId, reservation: options.reservation ?? '', claims, ttlSeconds: 0 };
  const { leases } = await withClient(call, LeaseServiceClient, (client) =>
    callUnary(client.acquire.bind(client), request, LONG_CALL),
  );
  printLeases(call, leases);
  return 0;
}

export async function releaseLeases(
  call: Invocation,
  addresses: readonly string[],
  options: ReleaseOptions,
): Promise<number> {
  await confirm(call, `release ${addresses.join(' ')}`, options.yes);
  const request = { requestId: call.requestId, addresses: [...addresses], force: options.force ?? false };
  const { leases } = await withClient(call, LeaseServiceClient, (client) =>
    callUnary(client.release.bind(client), request, LONG_CALL),
  );
  printLeases(call, leases);
  return 0;
}

function printLeases(call: Invocation, leases: readonly Lease[]): void {
  printRows(call, leases, leaseView(call.world.timeZone()));
  if (leases.length === 0 && isTable(call.format)) tell(call, 'no leases');
}
