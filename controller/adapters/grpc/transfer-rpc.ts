import type { AgentServiceServer } from '../../../shared/gen/domherd/v1/agent.js';
import type { TransferChunk as WireChunk } from '../../../shared/gen/domherd/v1/transfer.js';
import type { TransferChunk } from '../../../shared/domain/transfer.js';
import { AppError } from '../../../shared/errors.js';
import { chunkFromWire, chunkToWire } from '../../../shared/grpc/transfer-wire.js';
import type { TransferHub } from '../../services/transfer-hub.js';
import type { CallInfo, Handlers } from './call.js';

/** The ends of transfers. Whose they are says the certificate, never a message. */
export function transferHandlers(hub: TransferHub): Pick<Handlers<AgentServiceServer>, 'send' | 'receive'> {
  return {
    send: async (chunks, call) => {
      await hub.send(hostOf(call), fromWire(chunks), call.signal);
      return {};
    },
    receive: async function* ({ transferId }, call) {
      for await (const chunk of hub.receive(hostOf(call), transferId, call.signal)) yield chunkToWire(chunk);
    },
  };
}

function hostOf({ agentHost }: CallInfo): string {
  if (agentHost === undefined) throw new AppError('forbidden', 'a transfer is for agents only');
  return agentHost;
}

async function* fromWire(chunks: AsyncIterable<WireChunk>): AsyncGenerator<TransferChunk, void, undefined> {
  for await (const chunk of chunks) yield chunkFromWire(chunk);
}
