import type { Vm, VmProgress, VmResult } from '../../shared/gen/domherd/v1/vm.js';
import type { Probe } from './reach-probe.js';
import { vmAddresses, vmName } from './view/vm-view.js';
import type { World } from './world.js';

export interface ReachOptions extends Pick<World, 'nowMs' | 'pause' | 'signal'> {
  readonly probe: Probe;
  /** From now on; also of the wait for running. */
  readonly timeoutSeconds: number;
}

/** Pings are processes, and a frontend has other users. */
const PARALLEL = 32;
const BETWEEN_MS = 1_000;

/**
 * Hands a wait for running on; a VM that runs has its result once each of its leased addresses answered, or the time is
 * over.
 *
 * @throws {AppError} what `running` or the probe throws
 */
export async function* probeRunning(
  running: AsyncIterable<VmProgress>,
  options: ReachOptions,
): AsyncGenerator<VmProgress, void, undefined> {
  const left = new AbortController();
  const wait = new ReachWait({ ...options, signal: AbortSignal.any([options.signal, left.signal]) });
  const queue = new Merged<VmProgress>();
  void queue.feed(async () => {
    const looking: Promise<void>[] = [];
    for await (const each of running) {
      const vm = runningVm(each);
      if (vm === undefined) {
        queue.push(each);
        continue;
      }
      const reaching = wait.reach(vm, (progress) => queue.push(progress));
      // One that cannot look at all ends the wait, at once.
      reaching.catch((error: unknown) => queue.fail(error));
      looking.push(reaching);
    }
    await Promise.all(looking);
  });
  try {
    yield* queue.read();
  } finally {
    left.abort();
  }
}

function runningVm({ progress }: VmProgress): Vm | undefined {
  return progress?.$case === 'result' && progress.value.errorCode === '' ? progress.value.state : undefined;
}

class ReachWait {
  private readonly options: ReachOptions;
  private readonly endsAtMs: number;
  private readonly slots = new Slots(PARALLEL);

  constructor(options: ReachOptions) {
    this.options = options;
    this.endsAtMs = options.nowMs() + options.timeoutSeconds * 1_000;
  }

  async reach(vm: Vm, tell: (progress: VmProgress) => void): Promise<void> {
    const addresses = vmAddresses(vm);
    if (addresses.length === 0) return tell(noLease(vm));
    const silent = await Promise.all(addresses.map((address) => this.reachAddress(vm, address, tell)));
    const missing = silent.filter((reason) => reason !== undefined);
    tell(missing.length === 0 ? this.reached(vm, addresses) : this.late(vm, missing));
  }

  /** @returns what was missing at the end of the time; `undefined` if it answered */
  private async reachAddress(
    vm: Vm,
    address: string,
    tell: (progress: VmProgress) => void,
  ): Promise<string | undefined> {
    const { probe, nowMs, pause, signal } = this.options;
    let told = '';
    for (;;) {
      const reason = await this.slots.run(() => probe.look(address, signal));
      if (reason === undefined) return undefined;
      const text = `${address}: ${reason}`;
      if (text !== told) tell(step(vm, `running, ${text}`));
      told = text;
      if (signal.aborted || nowMs() + BETWEEN_MS > this.endsAtMs) return text;
      await pause(BETWEEN_MS, signal);
    }
  }

  private reached(vm: Vm, addresses: readonly string[]): VmProgress {
    return result(vm, '', `${addresses.join(', ')} ${this.options.probe.answers}`, {});
  }

  private late(vm: Vm, missing: readonly string[]): VmProgress {
    const seconds = String(this.options.timeoutSeconds);
    return result(vm, 'timeout', `it runs, but after ${seconds} s still: ${missing.join('; ')}`, {
      hint: vm.simulated
        ? 'it is simulated: there is no guest that could answer; wait with --for=running'
        : `see its network: domherd vm show ${vmName(vm)}; does this machine have a route to it?`,
    });
  }
}

function noLease(vm: Vm): VmProgress {
  return result(vm, 'wrong_state', 'it runs, but has no lease: there is no address to look at', {
    hint: `domherd vm shutdown ${vmName(vm)} && domherd vm address ${vmName(vm)}`,
  });
}

function step({ name, host }: Vm, message: string): VmProgress {
  return { progress: { $case: 'step', value: { vm: name, host, message, percent: undefined } } };
}

function result(vm: Vm, errorCode: string, message: string, details: Record<string, string>): VmProgress {
  const value: VmResult = { vm: vm.name, host: vm.host, errorCode, message, details, state: vm, warnings: [] };
  return { progress: { $case: 'result', value } };
}

/** So many at a time; the rest waits in line. */
class Slots {
  private free: number;
  private readonly waiting: (() => void)[] = [];

  constructor(count: number) {
    this.free = count;
  }

  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.free > 0) this.free -= 1;
    else await new Promise<void>((resolve) => this.waiting.push(resolve));
    try {
      return await work();
    } finally {
      const next = this.waiting.shift();
      if (next) next();
      else this.free += 1;
    }
  }
}

/** What comes from several sides, in the order in which it comes. */
class Merged<T> {
  private readonly waiting: T[] = [];
  private wake: (() => void) | undefined;
  private end: { readonly error?: unknown } | undefined;

  push(item: T): void {
    this.waiting.push(item);
    this.wake?.();
  }

  fail(error: unknown): void {
    this.end ??= { error };
    this.wake?.();
  }

  /** Reading ends when `work` has. */
  async feed(work: () => Promise<void>): Promise<void> {
    try {
      await work();
      this.end ??= {};
    } catch (error) {
      this.end ??= { error };
    }
    this.wake?.();
  }

  async *read(): AsyncGenerator<T, void, undefined> {
    for (;;) {
      yield* this.waiting.splice(0);
      if (this.waiting.length > 0) continue;
      if (this.end) break;
      await new Promise<void>((resolve) => (this.wake = resolve));
    }
    if ('error' in this.end) throw this.end.error;
  }
}
