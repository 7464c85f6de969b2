import { createHash, X509Certificate } from 'node:crypto';
import { credentials } from '@grpc/grpc-js';
import { AppError, invalid } from '../../../shared/errors.js';
import { callUnary } from '../../../shared/grpc/client.js';
import { JoinServiceClient, type JoinRequest as WireRequest } from '../../../shared/gen/domherd/v1/agent.js';
import { PROTOCOL } from '../../../shared/version.js';
import type { Joined, Joiner, JoinRequest, Trust } from '../../ports/joiner.js';
import { firstToAnswer } from './address-list.js';
import { CHANNEL_OPTIONS } from './channel-option.js';
import { fetchPinnedCa } from './pinned-ca.js';

/** The controller writes one row and signs; a restart of it fits in. */
const JOIN_MS = 20_000;

export class GrpcJoiner implements Joiner {
  join(request: JoinRequest, addresses: readonly string[], trust: Trust, signal: AbortSignal): Promise<Joined> {
    return firstToAnswer(addresses, (address) => joinAt(address, request, trust, signal), signal);
  }
}

async function joinAt(address: string, request: JoinRequest, trust: Trust, signal: AbortSignal): Promise<Joined> {
  const caPem = trust.kind === 'ca' ? trust.caPem : await fetchPinnedCa(address, trust.caPin, request.nowMs);
  const client = new JoinServiceClient(address, credentials.createSsl(Buffer.from(caPem)), CHANNEL_OPTIONS);
  try {
    const limits = { timeoutMs: JOIN_MS, signal };
    const answer = await callUnary(client.join.bind(client), requestToWire(request), limits);
    if (answer.addresses.length === 0) throw invalid('The controller gave no address for sessions');
    checkSameCa(answer.caCertificate, caPem, address);
    return { certificatePem: answer.certificate, caPem, addresses: answer.addresses };
  } finally {
    client.close();
  }
}

/** The pinned one stays the only root, whatever the answer says; another one there is a fault of the controller's. */
function checkSameCa(answered: string, caPem: string, address: string): void {
  if (fingerprint(answered) === fingerprint(caPem)) return;
  throw new AppError('unauthenticated', `${address} answered with another CA than it has itself`, {
    impostor: address,
  });
}

function fingerprint(pem: string): string {
  return createHash('sha256').update(new X509Certificate(pem).raw).digest('hex');
}

function requestToWire(request: JoinRequest): WireRequest {
  const { host, deploymentId, nowMs, proof } = request;
  return {
    host,
    csr: request.request,
    proof:
      proof.kind === 'token'
        ? { $case: 'tokenSecret', value: proof.secret }
        : {
            $case: 'expired',
            value: { certificate: proof.certificatePem, signature: Buffer.from(proof.signature) },
          },
    deploymentId,
    now: new Date(nowMs),
    protocol: { ...PROTOCOL },
  };
}
