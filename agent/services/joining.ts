import { invalid } from '../../shared/errors.js';
import { parseJoinToken } from '../../shared/domain/join-token.js';
import { parseHostName } from '../../shared/domain/name.js';
import type { Identity } from '../domain/identity.js';
import type { DeploymentRecord } from '../ports/boot-record.js';
import type { Clock } from '../ports/clock.js';
import type { DeploymentSource } from '../ports/host-report.js';
import type { IdentityStore } from '../ports/identity-store.js';
import type { Joiner } from '../ports/joiner.js';
import type { KeyMaker } from '../ports/key-maker.js';
import { ensurePendingKey } from './pending-key.js';

export interface JoiningParts {
  readonly clock: Clock;
  readonly identities: IdentityStore;
  readonly keys: KeyMaker;
  readonly joiner: Joiner;
  readonly deployment: DeploymentSource;
  readonly deploymentRecord: DeploymentRecord;
}

/**
 * Gets this host its identity. An identity that is there is replaced, once the new one is granted.
 *
 * @param tokenText what `domherd host token` printed; white space around it does not count
 * @throws {AppError} `invalid` (token or host name), or as {@link Joiner.join}
 */
export async function joinController(
  tokenText: string,
  hostName: string,
  parts: JoiningParts,
  signal: AbortSignal,
): Promise<Identity> {
  const { identities, keys } = parts;
  const text = tokenText.trim();
  if (text === '') throw invalid('There is no token on the input', { hint: 'domherd host token NAME prints one' });
  const token = parseJoinToken(text);
  const host = parseHostName(hostName);
  const deployment = await parts.deployment.readDeployment();
  const deploymentId = deployment.id;
  const keyPem = await ensurePendingKey(identities, keys);
  const request = await keys.makeRequest(keyPem, host);
  const proof = { kind: 'token', secret: token.secret } as const;
  const joined = await parts.joiner.join(
    { host, request, proof, deploymentId, nowMs: parts.clock.nowMs() },
    token.joinAddresses,
    { kind: 'pin', caPin: token.caPin },
    signal,
  );
  const { certificatePem, caPem, addresses } = joined;
  const validity = keys.readValidity(certificatePem);
  const identity = { host, keyPem, certificatePem, caPem, addresses, deploymentId, ...validity };
  await identities.save({ ...identity, joinAddresses: token.joinAddresses });
  // The VMs of a host that joins are taken as they are: the next boot changes no MAC of this deployment.
  await parts.deploymentRecord.write(deployment);
  return { ...identity, joinAddresses: token.joinAddresses };
}
