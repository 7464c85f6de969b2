import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { AppError, invalid, messageOf } from '../../shared/errors.js';
import {
  ImportReservationResponse_Change as Change,
  ReservationServiceClient,
  type ImportReservationRequest,
  type Reservation,
} from '../../shared/gen/domherd/v1/reservation.js';
import { callUnary } from '../../shared/grpc/client.js';
import { confirm } from './confirm.js';
import { withClient } from './connection.js';
import { isTable } from './format.js';
import type { Invocation } from './invocation.js';
import { CALL, LONG_CALL } from './limit.js';
import { describeMoment, parseMoment } from './moment.js';
import { printOne, printRows, tell } from './output.js';
import { reservationFields, reservationView } from './view/reservation-view.js';

export interface ImportOptions {
  readonly name?: string;
  readonly ends?: string;
  readonly starts?: string;
  readonly gateway?: string;
  readonly prefix?: number;
  readonly broadcast?: string;
  readonly dns?: readonly string[];
  readonly domain?: string;
  readonly exclude?: readonly string[];
  readonly job?: string;
  readonly site?: string;
  readonly user?: string;
  readonly dryRun?: boolean;
}

export interface ExtendOptions {
  readonly ends: string;
}

/** It asks OAR for jobs other than the present one, which may take many seconds. */
const G5K_SUBNETS_MS = 60_000;
const MAX_SOURCE_BYTES = 12 * 1024 * 1024;
const HAPPENED: Readonly<Record<number, string>> = {
  [Change.NONE]: 'unchanged',
  [Change.CREATED]: 'imported',
  [Change.UPDATED]: 'updated',
};

export async function importReservation(
  call: Invocation,
  file: string | undefined,
  options: ImportOptions,
): Promise<number> {
  const startsAt = momentOf(call, 'starts', options.starts);
  const endsAt = momentOf(call, 'ends', options.ends);
  const source = await readSource(call, file, options.job);
  const request: ImportReservationRequest = {
    requestId: call.requestId,
    name: options.name ?? '',
    source,
    startsAt,
    endsAt,
    prefixLength: options.prefix,
    broadcast: options.broadcast,
    gateway: options.gateway,
    dns: [...(options.dns ?? [])],
    domain: options.domain,
    exclusions: [...(options.exclude ?? [])],
    user: options.user ?? call.world.user().name,
    site: options.site ?? '',
    jobId: options.job ?? '',
    dryRun: options.dryRun ?? false,
  };
  const imported = await withClient(call, ReservationServiceClient, (client) =>
    callUnary(client.import.bind(client), request, LONG_CALL),
  );
  for (const warning of imported.warnings) tell(call, `warning: ${warning}`);
  const what = options.dryRun ? 'would be kept' : (HAPPENED[imported.change] ?? 'kept');
  tell(call, `reservation ${imported.reservation?.name ?? ''}: ${what}`);
  printReservation(call, imported.reservation);
  return 0;
}

/** Prints back how a time was understood, with date and zone. */
function momentOf(call: Invocation, what: string, text: string | undefined): Date | undefined {
  if (text === undefined) return undefined;
  const { nowMs, timeZone } = call.world;
  const atMs = parseMoment(text, nowMs(), timeZone());
  tell(call, `${what}: ${describeMoment(atMs, nowMs(), timeZone())}`);
  return new Date(atMs);
}

async function readSource(call: Invocation, file: string | undefined, job: string | undefined): Promise<Buffer> {
  const source = await readAnySource(call, file, job);
  if (source.length <= MAX_SOURCE_BYTES) return source;
  throw invalid(`the source has ${String(source.length)} bytes, ${String(MAX_SOURCE_BYTES)} are taken`, {
    hint: 'import subnets instead of single addresses: g5k-subnets -a',
  });
}

async function readAnySource(call: Invocation, file: string | undefined, job: string | undefined): Promise<Buffer> {
  if (file === undefined && job !== undefined) return askG5kSubnets(call, job);
  if (file !== undefined && file !== '-') return readSourceFile(file);
  const { stdin } = call.world;
  if (file === undefined || stdin.isTTY) {
    throw invalid('there is nothing to read: no file, no pipe, no job', {
      hint: 'g5k-subnets -a | domherd reservation import - --name NAME --ends 20:00; or give a file, or --job ID',
    });
  }
  const chunks: Buffer[] = [];
  for await (const chunk of stdin) chunks.push(Buffer.from(chunk as Uint8Array));
  return Buffer.concat(chunks);
}

async function readSourceFile(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (error) {
    throw invalid(`${path} cannot be read: ${messageOf(error)}`, {
      path,
      hint: 'give a file that is there, or - for a pipe',
    });
  }
}

async function askG5kSubnets(call: Invocation, job: string): Promise<Buffer> {
  if (!/^\d{1,12}$/.test(job))
    throw invalid(`"${job}" is not the number of a job`, { hint: 'give the number that oarsub printed' });
  try {
    const { stdout } = await promisify(execFile)('g5k-subnets', ['-a', '-j', job], {
      timeout: G5K_SUBNETS_MS,
      maxBuffer: MAX_SOURCE_BYTES,
      env: { ...call.world.env, LC_ALL: 'C' },
    });
    return Buffer.from(stdout);
  } catch (error) {
    const isMissing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    const hint = isMissing
      ? 'run this on a frontend, or pipe its output in'
      : 'see what it says: g5k-subnets -a -j ' + job;
    throw new AppError(
      'unavailable',
      isMissing ? 'the program g5k-subnets is not here' : `g5k-subnets failed: ${messageOf(error)}`,
      { hint },
      error,
    );
  }
}

export async function listReservations(call: Invocation): Promise<number> {
  const { reservations } = await withClient(call, ReservationServiceClient, (client) =>
    callUnary(client.list.bind(client), {}, CALL),
  );
  printRows(call, reservations, reservationView(call.world.timeZone()));
  if (reservations.length === 0 && isTable(call.format)) {
    tell(call, 'no reservations; import one: g5k-subnets -a | domherd reservation import - --name NAME --ends 20:00');
  }
  return 0;
}

export async function showReservation(call: Invocation, name: string): Promise<number> {
  const { reservation } = await withClient(call, ReservationServiceClient, (client) =>
    callUnary(client.get.bind(client), { name }, CALL),
  );
  printReservation(call, reservation);
  return 0;
}

export async function extendReservation(call: Invocation, name: string, options: ExtendOptions): Promise<number> {
  const request = { requestId: call.requestId, name, endsAt: momentOf(call, 'ends', options.ends) };
  const { reservation } = await withClient(call, ReservationServiceClient, (client) =>
    callUnary(client.extend.bind(client), request, CALL),
  );
  printReservation(call, reservation);
  return 0;
}

export async function deleteReservation(call: Invocation, name: string, options: { yes?: boolean }): Promise<number> {
  await confirm(call, `forget reservation ${name}`, options.yes);
  const request = { requestId: call.requestId, name };
  const { droppedLeases } = await withClient(call, ReservationServiceClient, (client) =>
    callUnary(client.delete.bind(client), request, CALL),
  );
  tell(call, `reservation ${name} is gone, ${String(droppedLeases)} resting leases with it`);
  return 0;
}

function printReservation(call: Invocation, reservation: Reservation | undefined): void {
  if (reservation === undefined) return;
  const timeZone = call.world.timeZone();
  printOne(call, reservation, reservationView(timeZone), reservationFields(timeZone));
}
