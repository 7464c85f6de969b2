import { notFound, wrongState } from '../../../shared/errors.js';
import { lastLines } from '../../domain/console-log.js';
import type { Consoles, LogTail, OpenConsole } from '../../ports/consoles.js';
import { sleep } from '../../services/sleep.js';
import type { SimDomain, SimWorld } from './sim-world.js';

const LOOK_MS = 500;

/** Consoles of guests that do not exist; each says so. */
export class SimConsoles implements Consoles {
  readonly #world: SimWorld;

  constructor(world: SimWorld) {
    this.#world = world;
  }

  open(name: string): Promise<OpenConsole> {
    const domain = this.#find(name);
    if (domain === undefined) {
      return Promise.reject(wrongState(`There is no domain ${name}`, { hint: `domherd vm start ${name}` }));
    }
    return Promise.resolve(new SimConsole(domain, this.#world));
  }

  // A domain that is gone has left nothing: there is no guest that would have written it.
  openLog(name: string, tail: LogTail, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>> {
    const domain = this.#find(name);
    if (domain === undefined) return Promise.reject(notFound(`The simulated console of ${name} has said nothing`));
    return Promise.resolve(this.#readLog(domain, tail, signal));
  }

  async *#readLog(domain: SimDomain, tail: LogTail, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    yield lastLines(Buffer.from(bootText(domain)), tail.lines, true);
    while (tail.isFollowed && (await sleep(this.#world.clock, LOOK_MS, signal))) {
      if (this.#find(domain.name)?.createdAtMs !== domain.createdAtMs) return;
    }
  }

  #find(name: string): SimDomain | undefined {
    return this.#world.domains().find((domain) => domain.name === name);
  }
}

/** Shows what is typed, and that nothing comes of it. */
class SimConsole implements OpenConsole {
  readonly note = undefined;
  readonly #domain: SimDomain;
  readonly #endWatch: () => void;
  #said: string;
  #isOver = false;
  #wake: () => void = () => undefined;

  constructor(domain: SimDomain, world: SimWorld) {
    this.#domain = domain;
    this.#said = `${bootText(domain)}${prompt(domain)}`;
    this.#endWatch = world.onChange(() => {
      const isThere = world.domains().some((one) => one.name === domain.name && one.createdAtMs === domain.createdAtMs);
      if (!isThere) this.close();
    });
  }

  get output(): AsyncIterable<Uint8Array> {
    return this.#read();
  }

  write(keys: Uint8Array): Promise<void> {
    const answer = `\r\nthis guest is simulated: nothing runs in it\r\n${prompt(this.#domain)}`;
    this.#say(
      Buffer.from(keys)
        .toString('latin1')
        .replaceAll(/\r\n|\r|\n/g, answer),
    );
    return Promise.resolve();
  }

  close(): void {
    this.#isOver = true;
    this.#endWatch();
    this.#wake();
  }

  #say(text: string): void {
    this.#said += text;
    this.#wake();
  }

  async *#read(): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      while (!this.#isOver) {
        const text = this.#said;
        this.#said = '';
        if (text === '') await new Promise<void>((resolve) => (this.#wake = resolve));
        else yield Buffer.from(text, 'latin1');
      }
    } finally {
      this.close();
    }
  }
}

function bootText({ name, memoryMib, vcpus }: SimDomain): string {
  return [
    `[    0.000000] ${name}: a simulated guest, no Xen is behind it`,
    `[    0.000000] Memory: ${String(memoryMib)} MiB, ${String(vcpus)} vcpus`,
    '[    0.100000] that is all of its boot',
    '',
  ].join('\r\n');
}

function prompt({ name }: SimDomain): string {
  return `\r\n${name} (simulated) login: `;
}
