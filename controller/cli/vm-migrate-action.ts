import type { Storage } from '../../shared/domain/vm-shape.js';
import { invalid } from '../../shared/errors.js';
import { VmServiceClient } from '../../shared/gen/domherd/v1/vm.js';
import { callStream } from '../../shared/grpc/client.js';
import { storageToWire } from '../../shared/grpc/vm-shape.js';
import { withClient } from './connection.js';
import type { Invocation } from './invocation.js';
import { selectorOf } from './selection.js';
import { secondsOf, type ShutdownOptions } from './vm-order-action.js';
import { showProgress } from './vm-progress.js';

export interface MigrateOptions extends ShutdownOptions {
  readonly to: string;
  readonly cold?: boolean;
  readonly storage?: Storage;
}

export async function migrateVms(call: Invocation, names: readonly string[], options: MigrateOptions): Promise<number> {
  const dryRun = options.dryRun ?? false;
  if (options.storage !== undefined && options.cold !== true) {
    throw invalid('--storage goes with --cold', { hint: 'add --cold, or leave --storage out' });
  }
  const request = {
    requestId: call.requestId,
    selector: selectorOf(names, options.all),
    to: options.to,
    cold: options.cold ?? false,
    timeoutSeconds: secondsOf(options.timeout),
    destroyAfter: options.then === 'destroy',
    storage: storageToWire(options.storage),
    dryRun,
  };
  return withClient(call, VmServiceClient, (client) =>
    showProgress(call, callStream(client.migrate.bind(client), request, { signal: call.world.signal }), dryRun),
  );
}
