import { VmServiceClient, WaitCondition } from '../../shared/gen/domherd/v1/vm.js';
import { callStream } from '../../shared/grpc/client.js';
import { withClient } from './connection.js';
import type { Invocation } from './invocation.js';
import { selectorOf } from './selection.js';
import { enumValue } from './view/enum-text.js';
import { secondsOf } from './vm-order-action.js';
import { showProgress } from './vm-progress.js';

export interface WaitOptions {
  readonly all?: boolean;
  readonly for: string;
  readonly timeout?: string;
}

export async function waitForVms(call: Invocation, names: readonly string[], options: WaitOptions): Promise<number> {
  const request = {
    selector: selectorOf(names, options.all),
    condition: enumValue(WaitCondition, options.for) ?? WaitCondition.UNSPECIFIED,
    timeoutSeconds: secondsOf(options.timeout),
  };
  return withClient(call, VmServiceClient, (client) =>
    showProgress(call, callStream(client.wait.bind(client), request, { signal: call.world.signal }), false),
  );
}
