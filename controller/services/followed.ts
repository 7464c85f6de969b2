import type { HostId } from '../domain/vm.js';
import type { Tell, VmResult } from './vm-progress.js';

/** A migration that is under way, and all who follow it. */
export class Followed {
  readonly hostId: HostId;
  readonly result: Promise<VmResult>;
  private readonly tells = new Set<Tell>();

  constructor(hostId: HostId, work: (tell: Tell) => Promise<VmResult>) {
    this.hostId = hostId;
    // Whoever begins it follows it, too.
    this.result = Promise.resolve().then(() =>
      work((step) => {
        for (const each of this.tells) each(step);
      }),
    );
  }

  join(tell: Tell): Promise<VmResult> {
    this.tells.add(tell);
    return this.result;
  }
}
