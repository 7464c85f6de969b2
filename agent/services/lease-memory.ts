import type { Logger } from 'pino';
import { messageOf } from '../../shared/errors.js';
import type { VifLease } from '../domain/lease-record.js';
import type { LeaseBook } from '../ports/boot-record.js';
import type { DeploymentSource } from '../ports/host-report.js';
import type { CarryOut } from './order-runner.js';

export interface LeaseMemoryParts {
  readonly leases: LeaseBook;
  readonly deployment: DeploymentSource;
  readonly log: Logger;
}

/**
 * Keeps the leases of this host's vifs, for a boot without the controller.
 *
 * Nothing here throws: without its record, a vif keeps its MAC at the next boot as any other does.
 */
export class LeaseMemory {
  readonly #parts: LeaseMemoryParts;

  constructor(parts: LeaseMemoryParts) {
    this.#parts = parts;
  }

  /** What an order gave to a VM, before it is said to be done. */
  noting(carryOut: CarryOut): CarryOut {
    return async (order, progress, signal) => {
      const outcome = await carryOut(order, progress, signal);
      const cfgPath = outcome.vm?.cfgPath;
      if (order.action.kind !== 'configure' || cfgPath === undefined) return outcome;
      const leases = order.action.vifs.map(({ index, address, mac, leaseEndsAtMs }): VifLease => {
        return { cfgPath, vifIndex: index, address, mac, endsAtMs: leaseEndsAtMs };
      });
      await this.#attempt(leases, 'keep');
      return outcome;
    };
  }

  /** The controller told of all there are. */
  replace(leases: readonly VifLease[]): Promise<void> {
    return this.#attempt(leases, 'replaceAll');
  }

  async #attempt(leases: readonly VifLease[], how: 'keep' | 'replaceAll'): Promise<void> {
    const { leases: book, deployment, log } = this.#parts;
    try {
      const deploymentId = await deployment.readDeploymentId();
      await book[how](leases.map((lease) => ({ ...lease, deploymentId })));
    } catch (error) {
      log.error({ leases: leases.length, reason: messageOf(error) }, 'leases not recorded for the next boot');
    }
  }
}
