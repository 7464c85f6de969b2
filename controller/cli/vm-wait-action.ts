import { VmServiceClient, WaitCondition, type WaitVmsRequest } from '../../shared/gen/domherd/v1/vm.js';
import { callStream } from '../../shared/grpc/client.js';
import { withClient } from './connection.js';
import type { Invocation } from './invocation.js';
import { pingProbe, sshProbe, type Probe } from './reach-probe.js';
import { probeRunning } from './reach-wait.js';
import { selectorOf } from './selection.js';
import { enumValue } from './view/enum-text.js';
import { secondsOf } from './vm-order-action.js';
import { showProgress } from './vm-progress.js';

export interface WaitOptions {
  readonly all?: boolean;
  readonly for: string;
  /** Milliseconds. */
  readonly timeout?: number;
}

/** As the controller's own. */
const TIMEOUT_SECONDS = 300;

export async function waitForVms(call: Invocation, names: readonly string[], options: WaitOptions): Promise<number> {
  const probe = probeOf(call, options.for);
  const request: WaitVmsRequest = {
    selector: selectorOf(names, options.all),
    condition: enumValue(WaitCondition, probe ? 'running' : options.for) ?? WaitCondition.UNSPECIFIED,
    timeoutSeconds: secondsOf(options.timeout) || TIMEOUT_SECONDS,
  };
  const { nowMs, pause, signal } = call.world;
  return withClient(call, VmServiceClient, (client) => {
    const met = callStream(client.wait.bind(client), request, { signal });
    if (!probe) return showProgress(call, met, false);
    const { timeoutSeconds } = request;
    return showProgress(call, probeRunning(met, { probe, timeoutSeconds, nowMs, pause, signal }), false);
  });
}

/** What is looked at from here; the controller may be where no VM is to be reached. */
function probeOf({ world }: Invocation, condition: string): Probe | undefined {
  if (condition === 'ping') return pingProbe(world.exec);
  return condition === 'ssh' ? sshProbe() : undefined;
}
