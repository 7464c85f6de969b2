import { credentials } from '@grpc/grpc-js';
import { AppError, wrongState } from '../../../shared/errors.js';
import { AgentServiceClient } from '../../../shared/gen/domherd/v1/agent.js';
import type { IdentityStore } from '../../ports/identity-store.js';
import { firstToAnswer } from './address-list.js';
import { CHANNEL_OPTIONS } from './channel-option.js';

/** TCP and TLS over a slow link. */
const CONNECT_MS = 10_000;

/**
 * A connection of its own, beside the session's: what is moved on it delays neither orders nor metrics. To be closed.
 *
 * @throws {AppError} `wrong_state` (not joined), `unavailable`
 */
export async function dialController(identities: IdentityStore, signal: AbortSignal): Promise<AgentServiceClient> {
  const identity = await identities.load();
  if (identity === undefined) throw wrongState('This host has not joined a controller');
  const { caPem, keyPem, certificatePem, addresses } = identity;
  const secure = credentials.createSsl(Buffer.from(caPem), Buffer.from(keyPem), Buffer.from(certificatePem));
  return firstToAnswer(
    addresses,
    (address) => ready(new AgentServiceClient(address, secure, CHANNEL_OPTIONS), address),
    signal,
  );
}

function ready(client: AgentServiceClient, address: string): Promise<AgentServiceClient> {
  return new Promise((resolve, reject) => {
    client.waitForReady(Date.now() + CONNECT_MS, (error) => {
      if (!error) return resolve(client);
      client.close();
      reject(new AppError('unavailable', `The controller does not answer at ${address}`, { address }, error));
    });
  });
}
