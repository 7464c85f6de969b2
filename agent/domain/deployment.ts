/** What kadeploy makes new, and what tells two machines apart. Nothing in it changes at a reboot. */
export interface DeploymentFacts {
  /** Kind, UUID and creation time of the root file system, as far as it has them; `undefined` if it cannot be told. */
  readonly rootFs: string | undefined;
  /** DMI UUID. */
  readonly machine: string | undefined;
  /** The permanent ones of the machine's NICs, sorted. */
  readonly macs: readonly string[];
}

export interface Deployment {
  /** A hash of the facts. */
  readonly id: string;
  readonly facts: DeploymentFacts;
}

/**
 * Whether the machine was deployed in between. A NIC whose driver is late, or one that was plugged in, makes another id but
 * no other deployment.
 *
 * @param before what was recorded; `undefined`: nothing, which is a new deployment
 */
export function isNewDeployment(before: Deployment | undefined, present: Deployment): boolean {
  if (before === undefined) return true;
  if (before.id === present.id) return false;
  const [a, b] = [before.facts, present.facts];
  if (a.rootFs === undefined || a.rootFs !== b.rootFs || a.machine !== b.machine) return true;
  const isPart = (some: readonly string[], all: readonly string[]): boolean => some.every((mac) => all.includes(mac));
  return !isPart(a.macs, b.macs) && !isPart(b.macs, a.macs);
}
