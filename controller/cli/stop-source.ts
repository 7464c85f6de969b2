import { EXIT_CODE } from '../../shared/exit-code.js';
import type { Invocation } from './invocation.js';
import { tell } from './output.js';
import { shutdownVms, startVms } from './vm-order-action.js';

/**
 * A copy does not change its source: one that ran runs again, whatever became of the copying. Data is the work's alone; what
 * happens to the source is told beside it.
 *
 * @param vm NAME@HOST
 * @returns the exit code: the work's, or, where that is 0, of the source's start
 */
export async function whileStopped(call: Invocation, vm: string, work: () => Promise<number>): Promise<number> {
  const quiet = { ...call.world, stdout: { write: () => undefined } };
  // An intent of its own: a source that runs again is shut down again when the command is repeated with its id.
  const aside = { ...call, world: quiet, requestId: call.world.newId() };
  const stopped = await shutdownVms(aside, [vm], {}).catch((error: unknown) => {
    tell(call, `${vm} may be shutting down all the same; to start it again: domherd vm start ${vm}`);
    throw error;
  });
  if (stopped !== 0) return stopped;
  tell(call, `${vm} is shut down to be copied`);
  const code = await work().catch(async (error: unknown) => {
    await startAgain(aside, vm);
    throw error;
  });
  const started = await startAgain(aside, vm);
  return code || started;
}

/** Also after Ctrl-C, which is meant for the copying. */
async function startAgain(call: Invocation, vm: string): Promise<number> {
  const unstoppable = { ...call, world: { ...call.world, signal: new AbortController().signal } };
  // A controller that is away must not hide why the copying failed.
  const code = await startVms(unstoppable, [vm], {}).catch(() => EXIT_CODE.unavailable);
  tell(call, code === 0 ? `${vm} is started again` : `${vm} is not started again; to try it: domherd vm start ${vm}`);
  return code;
}
