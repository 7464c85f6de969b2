import { createHash, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import tls from 'node:tls';
import { pino } from 'pino';
import type { Test } from 'tap';
import { GrpcTransferLink } from '../../agent/adapters/grpc/grpc-transfer-link.js';
import type { IdentityStore } from '../../agent/ports/identity-store.js';
import { Gate } from '../../controller/adapters/grpc/gate.js';
import { Listener } from '../../controller/adapters/grpc/listener.js';
import { OpenCalls } from '../../controller/adapters/grpc/open-calls.js';
import { byCertificate } from '../../controller/adapters/grpc/principal.js';
import { ServerTls } from '../../controller/adapters/grpc/server-tls.js';
import { transferHandlers } from '../../controller/adapters/grpc/transfer-rpc.js';
import { X509Authority } from '../../controller/adapters/identity/x509-authority.js';
import { transferFiles } from '../../controller/adapters/system/transfer-file.js';
import type { Identity } from '../../controller/ports/store.js';
import { TransferHub } from '../../controller/services/transfer-hub.js';
import { MAX_PIECE_BYTES, type FilePiece } from '../../shared/domain/transfer.js';
import { AgentServiceService } from '../../shared/gen/domherd/v1/agent.js';
import { makeIdentity } from '../fakes/grpc-client.js';
import { ManualClock } from '../fakes/manual-clock.js';
import { ManualTimers } from '../fakes/manual-timer.js';

const DAY_MS = 86_400_000;
const clock = { nowMs: () => Date.now() };

export interface TransferRig {
  readonly hub: TransferHub;
  readonly calls: OpenCalls;
  /** Of the hub alone. */
  readonly timers: ManualTimers;
  readonly linkOf: (host: string) => Promise<GrpcTransferLink>;
  /** Cuts every connection, as a controller that dies. */
  readonly kill: () => Promise<void>;
}

/** A controller's mutual-TLS listener with the ends of transfers, and links of hosts to it. */
export async function openTransferRig(t: Test): Promise<TransferRig> {
  tls.DEFAULT_MIN_VERSION = 'TLSv1.3';
  const log = pino({ level: 'silent' });
  const authority = await X509Authority.open(t.testdir(), clock);
  const serverTls = new ServerTls({
    ...{ caPem: authority.certificatePem, issue: (lifeMs) => authority.issueServer(lifeMs), clock, log },
  });
  await serverTls.start();
  const identities = new Map<string, Identity>();
  const calls = new OpenCalls(16);
  const timers = new ManualTimers(new ManualClock());
  const hub = new TransferHub({ timers, random: { bytes: (count) => randomBytes(count) }, source: transferFiles });
  const rest = Object.fromEntries(Object.keys(AgentServiceService).map((name) => [name, () => Promise.resolve()]));
  const listener = new Listener({
    address: '127.0.0.1:0',
    credentials: serverTls.credentials('required'),
    gate: new Gate({
      ...{ identify: byCertificate((serial) => identities.get(serial), clock), calls, clock, rate: undefined, log },
    }),
    services: [{ definition: AgentServiceService, handlers: { ...rest, ...transferHandlers(hub) } }],
    maxMessageBytes: 1024 * 1024,
  });
  const address = `127.0.0.1:${String(await listener.start())}`;
  t.teardown(async () => {
    serverTls.stop();
    await listener.stop(0);
  });
  const linkOf = async (host: string): Promise<GrpcTransferLink> => {
    const { keyPem, csr } = await makeIdentity(host);
    const issued = await authority.issue(await authority.readRequest(csr, host), { role: 'agent', name: host }, DAY_MS);
    identities.set(issued.serial, {
      ...{ serial: issued.serial, role: 'agent', name: host, revokedAtMs: undefined },
      ...{ issuedAtMs: issued.issuedAtMs, expiresAtMs: issued.expiresAtMs },
    });
    const identity = {
      ...{ host, keyPem, certificatePem: issued.pem, caPem: authority.certificatePem, addresses: [address] },
      ...{ joinAddresses: [], deploymentId: 'd', notBeforeMs: issued.issuedAtMs, notAfterMs: issued.expiresAtMs },
    };
    return new GrpcTransferLink({ load: () => Promise.resolve(identity) } as Partial<IdentityStore> as IdentityStore);
  };
  return { hub, calls, timers, linkOf, kill: () => listener.stop(0) };
}

/** So many bytes that no compression makes smaller, in pieces; counts how many were asked for. */
export class NoisePieces implements AsyncIterable<FilePiece> {
  given = 0;
  readonly count: number;
  readonly #bytes = randomBytes(MAX_PIECE_BYTES);

  constructor(count: number) {
    this.count = count;
  }

  get sizeBytes(): number {
    return this.count * MAX_PIECE_BYTES;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<FilePiece, void, undefined> {
    while (this.given < this.count) {
      await Promise.resolve();
      yield { file: 0, offsetBytes: this.given++ * MAX_PIECE_BYTES, bytes: this.#bytes };
    }
  }
}

export function sha256Of(path: string): string {
  return createHash('sha256').update(readFileSync(path)).digest('hex');
}
