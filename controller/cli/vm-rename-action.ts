import { VmServiceClient } from '../../shared/gen/domherd/v1/vm.js';
import { callStream } from '../../shared/grpc/client.js';
import { withClient } from './connection.js';
import type { Invocation } from './invocation.js';
import { showProgress } from './vm-progress.js';

export interface RenameOptions {
  readonly dryRun?: boolean;
}

export async function renameVm(
  call: Invocation,
  [vm = '', name = '']: readonly string[],
  { dryRun = false }: RenameOptions,
): Promise<number> {
  const request = { requestId: call.requestId, vm, name, dryRun };
  return withClient(call, VmServiceClient, (client) =>
    showProgress(call, callStream(client.rename.bind(client), request, { signal: call.world.signal }), dryRun),
  );
}
