import { createPrivateKey, webcrypto } from 'node:crypto';
import {
  Client,
  credentials,
  Metadata,
  status,
  type ChannelCredentials,
  type MethodDefinition,
  type ServiceDefinition,
  type ServiceError,
} from '@grpc/grpc-js';
import { AgentServiceService, JoinServiceService } from '../../shared/gen/domherd/v1/agent.js';
import { ControllerServiceService } from '../../shared/gen/domherd/v1/controller.js';
import { DiskServiceService } from '../../shared/gen/domherd/v1/disk.js';
import { EventServiceService } from '../../shared/gen/domherd/v1/event.js';
import { HostServiceService } from '../../shared/gen/domherd/v1/host.js';
import { ImageServiceService } from '../../shared/gen/domherd/v1/image.js';
import { LeaseServiceService } from '../../shared/gen/domherd/v1/lease.js';
import { MacServiceService } from '../../shared/gen/domherd/v1/mac.js';
import { ReservationServiceService } from '../../shared/gen/domherd/v1/reservation.js';
import { VmServiceService } from '../../shared/gen/domherd/v1/vm.js';
import { HealthService } from '../../shared/gen/grpc/health/v1/health.js';
import { SERVER_NAME } from '../../shared/grpc/server-name.js';
import { x509 } from '../../shared/x509.js';

export const ALL_SERVICES: readonly ServiceDefinition[] = [
  AgentServiceService,
  JoinServiceService,
  ControllerServiceService,
  DiskServiceService,
  EventServiceService,
  HostServiceService,
  ImageServiceService,
  LeaseServiceService,
  MacServiceService,
  ReservationServiceService,
  VmServiceService,
  HealthService,
];

export type AnyMethod = MethodDefinition<unknown, unknown>;

export const ALL_METHODS: readonly AnyMethod[] = ALL_SERVICES.flatMap((definition) => Object.values(definition));

const CALL_MS = 10_000;

/** How an empty request to any method ends: "OK", "UNAUTHENTICATED", ... */
export function statusOfCall(client: Client, method: AnyMethod): Promise<string> {
  const { path, requestSerialize, responseDeserialize } = method;
  const request = method.requestDeserialize(Buffer.alloc(0));
  const options = { deadline: Date.now() + CALL_MS };
  return new Promise((resolve) => {
    const done = (code: number): void => resolve(status[code] ?? String(code));
    if (!method.requestStream && !method.responseStream) {
      const finish = (error: ServiceError | null): void => done(error?.code ?? status.OK);
      client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, new Metadata(), options, finish);
      return;
    }
    const call = method.requestStream
      ? client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, new Metadata(), options).end()
      : client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request, new Metadata(), options);
    call.on('error', () => undefined);
    call.on('status', ({ code }) => done(code));
    // A stream that answers is one that was let in.
    call.on('data', () => call.cancel());
  });
}

export interface ClientIdentity {
  readonly keyPem: string;
  readonly csr: string;
}

export async function makeIdentity(name: string): Promise<ClientIdentity> {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256' };
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const request = await x509.Pkcs10CertificateRequestGenerator.create(
    { name: [{ CN: [name] }], keys, signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' } },
    webcrypto,
  );
  const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey));
  const key = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  return { keyPem: String(key.export({ format: 'pem', type: 'pkcs8' })), csr: request.toString('pem') };
}

/** As a client of the mutual-TLS listener sees the controller. */
export function tlsCredentials(caPem: string, keyPem?: string, certificatePem?: string): ChannelCredentials {
  return credentials.createSsl(
    Buffer.from(caPem),
    keyPem === undefined ? null : Buffer.from(keyPem),
    certificatePem === undefined ? null : Buffer.from(certificatePem),
  );
}

export const TLS_OPTIONS = { 'grpc.ssl_target_name_override': SERVER_NAME };

export function connect(address: string, channel: ChannelCredentials = credentials.createInsecure()): Client {
  return new Client(address, channel, TLS_OPTIONS);
}
