import type { JoinRequest as WireRequest, JoinServiceServer } from '../../../shared/gen/domherd/v1/agent.js';
import { parseHostName } from '../../../shared/domain/name.js';
import { invalid } from '../../../shared/errors.js';
import type { JoinProof, JoinRequest, JoinService } from '../../services/join-service.js';
import type { Handlers } from './call.js';
import { inField, missing, msFrom, optionalTextFrom, timestampFromMs } from './convert.js';

const MAX_DEPLOYMENT_ID = 128;

export function joinHandlers(joins: JoinService): Handlers<JoinServiceServer> {
  return {
    join: async (wire, { log }) => {
      const request = joinRequestFrom(wire);
      const joined = await joins.join(request);
      log.info({ host: request.host, proof: request.proof.kind, expiresAtMs: joined.expiresAtMs }, 'host joined');
      return {
        certificate: joined.certificatePem,
        caCertificate: joined.caPem,
        addresses: [...joined.addresses],
        expiresAt: timestampFromMs(joined.expiresAtMs),
      };
    },
  };
}

function joinRequestFrom(wire: WireRequest): JoinRequest {
  if (wire.host === '') throw missing('host');
  if (wire.protocol === undefined) throw missing('protocol');
  const deploymentId = optionalTextFrom(wire.deploymentId, 'deployment_id', MAX_DEPLOYMENT_ID);
  if (deploymentId === undefined) throw missing('deployment_id');
  return {
    host: inField('host', () => parseHostName(wire.host)),
    csr: wire.csr,
    proof: proofFrom(wire.proof),
    deploymentId,
    nowMs: msFrom(wire.now, 'now'),
    protocol: wire.protocol,
  };
}

function proofFrom(wire: WireRequest['proof']): JoinProof {
  switch (wire?.$case) {
    case 'tokenSecret':
      return { kind: 'token', secret: wire.value };
    case 'expired':
      return { kind: 'expired', certificatePem: wire.value.certificate, signature: wire.value.signature };
    case undefined:
      throw invalid('proof is missing: a token, or the last certificate', { field: 'proof' });
  }
}
