import { setTimeout as sleep } from 'node:timers/promises';
import type { Lab } from '../lab.js';
import { waitFor } from '../lab.js';

interface Arrival {
  readonly host: string;
  readonly state: string;
  readonly atMs: number;
}

/** The states of VMs as a `domherd event list --follow` tells them that runs all the while, and when each line came. */
export class StateStream {
  readonly #arrivals: Arrival[] = [];
  readonly #end = new AbortController();
  readonly #ended: Promise<unknown>;
  #rest = '';

  private constructor(lab: Lab) {
    const args = ['event', 'list', '--follow', '--kind', 'vm.', '-o', 'json'];
    this.#ended = lab.frontend.follow(args, (text) => this.#take(text), this.#end.signal);
  }

  /** Resolves when it tells what happens: what happened before comes first. */
  static async open(lab: Lab): Promise<StateStream> {
    const stream = new StateStream(lab);
    await waitFor('the first event', () => Promise.resolve(stream.#arrivals.length > 0), LIMIT_MS, 50);
    await sleep(SETTLE_MS);
    stream.#arrivals.length = 0;
    return stream;
  }

  /** Until a state of the host's VM is told that was not asked for before. @returns when it came, milliseconds since 1970 */
  async next(host: string, state: string): Promise<number> {
    const find = (): Promise<Arrival | undefined> =>
      Promise.resolve(this.#arrivals.find((one) => one.host === host && one.state === state));
    const found = await waitFor(`the event that ${host} has it ${state}`, find, LIMIT_MS, 20);
    this.#arrivals.splice(0, this.#arrivals.indexOf(found) + 1);
    return found.atMs;
  }

  async close(): Promise<void> {
    this.#end.abort();
    await this.#ended;
  }

  #take(text: string): void {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) {
      const { host, details } = JSON.parse(line) as { host: string; details: Record<string, string> };
      this.#arrivals.push({ host, state: details['to'] ?? '', atMs: Date.now() });
    }
  }
}

const LIMIT_MS = 60_000;
/** What happened before comes at once. */
const SETTLE_MS = 1000;
