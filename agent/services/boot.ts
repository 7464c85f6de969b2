// Invariants:
// - The deployment is recorded last: a boot step that was cut short does all of it again.
// - What cannot be told to the controller, or cannot be kept, stops no domU; what cannot be held back stops all of them.
import { messageOf } from '../../shared/errors.js';
import { holdUnwritten, planBoot, type Hold } from '../domain/boot-plan.js';
import { bootEvents, type BootReport } from '../domain/boot-report.js';
import { isNewDeployment } from '../domain/deployment.js';
import type { MacPolicy } from '../domain/mac-policy.js';
import type { BootFolder } from '../ports/boot-folder.js';
import type { DeploymentRecord, EventBacklog, LeaseBook } from '../ports/boot-record.js';
import type { Clock } from '../ports/clock.js';
import type { HeldFolder } from '../ports/held-folder.js';
import type { DeploymentSource } from '../ports/host-report.js';

export interface BootParts {
  readonly folder: BootFolder;
  readonly held: HeldFolder;
  readonly deployment: DeploymentSource;
  readonly deploymentRecord: DeploymentRecord;
  readonly leases: LeaseBook;
  readonly backlog: EventBacklog;
  readonly clock: Pick<Clock, 'nowMs'>;
  /** A random integer of 0 to 2**24 - 1, from the kernel. */
  readonly draw: () => number;
}

export interface BootOptions {
  readonly policy: MacPolicy;
  /** Says what it would do, and writes nothing. */
  readonly isDryRun: boolean;
  /** 1 to 3,600,000. */
  readonly timeoutMs: number;
}

/**
 * The boot step: MACs that are this deployment's, and nothing for xendomains to start that may be another's. Needs neither
 * Xen nor a controller. Repeating it changes nothing, save under the policy `every-boot`.
 *
 * @throws {AppError} `unavailable` (a folder cannot be read, an entry cannot be held back), `timeout`, `wrong_state` (the
 *   deployment cannot be told): then nothing may be started
 */
export async function bootHost(options: BootOptions, parts: BootParts): Promise<BootReport> {
  const nowMs = parts.clock.nowMs();
  const present = await parts.deployment.readDeployment();
  const recorded = await parts.deploymentRecord.read();
  const isNew = isNewDeployment(recorded, present);
  const ids = isNew ? [] : [present.id, recorded?.id];
  const leases = (await parts.leases.list()).filter(({ deploymentId }) => ids.includes(deploymentId));
  const found = parts.folder.gather();
  const plan = planBoot({ ...found, leases, isNewDeployment: isNew, policy: options.policy, nowMs }, parts.draw);
  const { vifs, refusals, holds } = plan;
  const report = { isDryRun: options.isDryRun, isNewDeployment: isNew, vifs, refusals, warnings: [] };
  if (options.isDryRun) return { ...report, holds: holds.map((hold) => ({ ...hold, heldAt: undefined })) };

  const failures = await parts.folder.replaceAll(plan.rewrites, nowMs + options.timeoutMs);
  const failed = new Set(failures.map(({ file }) => file));
  const allHolds: readonly Hold[] = [...holds, ...holdUnwritten(found.autostart, holds, failures)];
  const done = {
    ...report,
    vifs: vifs.filter(({ file }) => !failed.has(file)),
    refusals: [...refusals, ...failures],
    holds: parts.held.hold(allHolds),
  };
  const untold = await keepRecords('the controller will not hear of it', [
    () => parts.backlog.append(bootEvents(done, found.autostart)),
  ]);
  // A file that could not be written is tried again at the next boot.
  if (!isNew || failures.length > 0) return { ...done, warnings: untold };
  // What was leased in another deployment means nothing any more.
  const unkept = await keepRecords('the next boot does it all again', [
    () => parts.leases.replaceAll([]),
    () => parts.deploymentRecord.write(present),
  ]);
  return { ...done, warnings: [...untold, ...unkept] };
}

/** In turn, until one fails. @returns what it said */
async function keepRecords(consequence: string, steps: readonly (() => Promise<void>)[]): Promise<readonly string[]> {
  try {
    for (const step of steps) await step();
    return [];
  } catch (error) {
    return [`${consequence}: ${messageOf(error)}`];
  }
}
