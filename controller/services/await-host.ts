import type { HostId } from '../domain/vm.js';
import type { Fleet } from './fleet.js';

/** Resolves when the host can be told orders, or when `isOver` says at a change of it, or at `signal`, that there is no need. */
export function awaitHost(fleet: Fleet, hostId: HostId, isOver: () => boolean, signal?: AbortSignal): Promise<void> {
  const isDue = (): boolean => fleet.isReachable(hostId) || signal?.aborted === true || isOver();
  if (isDue()) return Promise.resolve();
  return new Promise((resolve) => {
    const check = (): void => {
      if (!isDue()) return;
      stop();
      signal?.removeEventListener('abort', check);
      resolve();
    };
    const stop = fleet.onHostChanged((changed) => changed === hostId && check());
    signal?.addEventListener('abort', check);
  });
}
