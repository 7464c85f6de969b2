import type { Domain } from '../vm.js';

export interface DomainSigns {
  /** Letters of xentop or `xl list`; `undefined`: not seen by them yet. */
  readonly flags: string | undefined;
  /** Whether somebody looks for flags: then a domain without them has just come. */
  readonly isWatched: boolean;
  /** libxl has stored the domain's configuration, which is its last step before it lets the domain run. */
  readonly isBuilt: boolean;
  /** The guest has been asked to power off or to reboot, and has not done so. */
  readonly isAskedToStop: boolean;
}

/** A domain that libxl still builds is paused, too, and crash looping ones are seen so most of the time: `starting`. */
export function stateOf({ flags, isWatched, isBuilt, isAskedToStop }: DomainSigns): Domain['state'] {
  if (flags === undefined) return isWatched || !isBuilt ? 'starting' : isAskedToStop ? 'stopping' : 'running';
  if (flags.includes('c')) return 'crashed';
  if (flags.includes('d') || flags.includes('s')) return 'stopping';
  if (flags.includes('p')) return isBuilt ? 'paused' : 'starting';
  return isAskedToStop ? 'stopping' : 'running';
}
