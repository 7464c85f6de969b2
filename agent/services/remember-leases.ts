import type { Logger } from 'pino';
import { messageOf } from '../../shared/errors.js';
import type { LeaseRecord } from '../domain/lease-record.js';
import type { GuestSettings } from '../domain/order.js';
import type { LeaseBook } from '../ports/boot-record.js';
import type { DeploymentSource } from '../ports/host-report.js';
import type { CarryOut } from './order-runner.js';

export interface RememberLeasesParts {
  readonly leases: LeaseBook;
  readonly deployment: DeploymentSource;
  readonly log: Logger;
}

/** Keeps the leases of the VMs that were configured, for a boot without the controller. */
export function rememberLeases(carryOut: CarryOut, parts: RememberLeasesParts): CarryOut {
  return async (order, progress, signal) => {
    const outcome = await carryOut(order, progress, signal);
    const cfgPath = outcome.vm?.cfgPath;
    if (order.action.kind === 'configure' && cfgPath !== undefined) await keep(cfgPath, order.action, parts);
    return outcome;
  };
}

// The VM is configured whatever comes of this: without the record, the next boot keeps its MAC as it keeps any other.
async function keep(cfgPath: string, { vifs }: GuestSettings, parts: RememberLeasesParts): Promise<void> {
  try {
    const deploymentId = await parts.deployment.readDeploymentId();
    const records = vifs.map(({ index, address, mac, leaseEndsAtMs }): LeaseRecord => {
      return { cfgPath, vifIndex: index, address, mac, deploymentId, endsAtMs: leaseEndsAtMs };
    });
    await parts.leases.keep(records);
  } catch (error) {
    parts.log.error({ cfgPath, reason: messageOf(error) }, 'lease not recorded for the next boot');
  }
}
