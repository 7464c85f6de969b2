import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { credentials } from '@grpc/grpc-js';
import { LeaseServiceClient, type Lease } from '../../shared/gen/domherd/v1/lease.js';
import { callUnary } from '../../shared/grpc/client.js';
import { SERVER_NAME } from '../../shared/grpc/server-name.js';
import type { Fleet } from '../harness/fleet.js';

const CALL = { timeoutMs: 60_000 };

/** A client on mutual TLS, as anybody's gRPC client would be. */
export async function connectTls(fleet: Fleet): Promise<LeaseServiceClient> {
  const folder = join(fleet.folder, 'bench-certificate');
  const issued = await fleet.domherd(['certificate', 'issue', 'bench', '--out', folder]);
  if (issued.exitCode !== 0) throw new Error(issued.stderr);
  const { listen } = JSON.parse(readFileSync(join(fleet.dataDir, 'endpoints.json'), 'utf8')) as { listen: string };
  const [ca, key, cert] = ['ca.pem', 'key.pem', 'cert.pem'].map((name) => readFileSync(join(folder, name)));
  return new LeaseServiceClient(listen, credentials.createSsl(ca, key, cert), {
    'grpc.ssl_target_name_override': SERVER_NAME,
  });
}

let owners = 0;

export async function acquire(client: LeaseServiceClient, count: number): Promise<readonly Lease[]> {
  const claims = Array.from({ length: count }, () => {
    owners += 1;
    return { owner: { owner: { $case: 'name' as const, value: `bench-${String(owners)}` } } };
  });
  const request = { requestId: randomUUID(), reservation: 'bench', claims, ttlSeconds: 0 };
  return (await callUnary(client.acquire.bind(client), request, CALL)).leases;
}

export interface LeaseRate {
  readonly leasesPerSecond: number;
  readonly leases: number;
}

/** Keeps `inFlight` requests of `perRequest` leases each going for some time. */
export async function measureLeases(
  client: LeaseServiceClient,
  perRequest: number,
  inFlight: number,
  milliseconds: number,
): Promise<LeaseRate> {
  const start = performance.now();
  let leases = 0;
  const worker = async (): Promise<void> => {
    while (performance.now() - start < milliseconds) {
      // Not `leases += await ...`: that reads the sum before it waits, and loses what the others added meanwhile.
      const taken = await acquire(client, perRequest);
      leases += taken.length;
    }
  };
  await Promise.all(Array.from({ length: inFlight }, worker));
  return { leases, leasesPerSecond: (leases * 1_000) / (performance.now() - start) };
}

/** Takes `count` leases as fast as it goes. */
export async function fill(client: LeaseServiceClient, count: number): Promise<void> {
  const batch = 1_024;
  for (let left = count; left > 0; left -= batch) await acquire(client, Math.min(batch, left));
}
