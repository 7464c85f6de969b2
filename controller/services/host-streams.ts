import { AppError, notFound } from '../../shared/errors.js';
import type { HostId, Vm } from '../domain/vm.js';
import type { ConsoleLogTail } from '../ports/agent-link.js';
import type { RandomSource } from '../ports/environment.js';
import type { Timers } from '../ports/timer.js';
import { BytePipe } from './byte-pipe.js';
import type { Fleet } from './fleet.js';
import type { OrderBook } from './order-book.js';
import { orderError } from './vm-operator.js';

export interface HostStreamsOptions {
  readonly fleet: Fleet;
  readonly orders: OrderBook;
  readonly timers: Timers;
  readonly random: RandomSource;
}

/** For the host to look at its domains and to dial; an emulated one takes its time. */
const OPEN_MS = 30_000;
/** On its way in one direction; beyond that the other side waits. */
const PIPE_BYTES = 64 * 1024;

/** The host's end. */
export interface HostEnd {
  /** What is typed, once. */
  readonly typed: AsyncIterable<Uint8Array>;
  /** Resolves when there is room for more; `false`: nobody wants it any more. */
  push(bytes: Uint8Array): Promise<boolean>;
  /** There is no more. @param reason for people */
  ended(reason: string): void;
  /** The host's stream is over, however that came. Idempotent. */
  cut(error: unknown): void;
}

/** What a host hands on of a VM, because it was asked to. */
export class HostStream implements HostEnd {
  /** For people, from the host; may be empty. */
  readonly note: string;
  /** Why it ended by itself. */
  reason: string | undefined;
  private readonly up = new BytePipe(PIPE_BYTES);
  private readonly down = new BytePipe(PIPE_BYTES);

  constructor(note: string) {
    this.note = note;
  }

  /** What the host says, once. @throws {AppError} `unavailable` when it was cut */
  get received(): AsyncIterable<Uint8Array> {
    return this.up.read();
  }

  get typed(): AsyncIterable<Uint8Array> {
    return this.down.read();
  }

  /** Resolves when there is room for more. */
  async send(bytes: Uint8Array): Promise<void> {
    await this.down.push(bytes);
  }

  push(bytes: Uint8Array): Promise<boolean> {
    return this.up.push(bytes);
  }

  ended(reason: string): void {
    this.reason = reason;
    this.close();
  }

  cut(error: unknown): void {
    this.up.close(error);
    this.down.close();
  }

  /** Nobody wants it any more: the host is told by the end of what is typed. Idempotent. */
  close(): void {
    this.up.close();
    this.down.close();
  }
}

interface Expected {
  readonly hostId: HostId;
  readonly claim: (stream: HostStream) => void;
}

/** Has hosts dial back with what was asked of them: the controller dials nobody. */
export class HostStreams {
  private readonly options: HostStreamsOptions;
  private readonly expected = new Map<string, Expected>();

  constructor(options: HostStreamsOptions) {
    this.options = options;
  }

  /**
   * @param log `undefined`: the console itself
   * @throws {AppError} what the host answered; `timeout` if it does not dial, `unavailable`
   */
  async open(vm: Vm, log: ConsoleLogTail | undefined): Promise<HostStream> {
    const { orders, random, timers, fleet } = this.options;
    const consoleId = Buffer.from(random.bytes(16)).toString('hex');
    let forgetTimer = (): void => undefined;
    const dialled = new Promise<HostStream>((resolve, reject) => {
      this.expected.set(consoleId, { hostId: vm.hostId, claim: resolve });
      const late = `host ${fleet.hostName(vm.hostId)} did not open the console of ${vm.name} in ${OPEN_MS / 1000} s`;
      forgetTimer = timers.after(OPEN_MS, () => reject(new AppError('timeout', late)));
    });
    const action = { kind: 'openConsole', consoleId, log } as const;
    const ordered = orders
      .run(vm.hostId, { vmKey: vm.key, timeoutMs: OPEN_MS, action }, { turnWithinMs: OPEN_MS })
      .then((answer) => (answer.kind === 'done' ? dialled : Promise.reject(orderError(answer))));
    try {
      return await Promise.race([dialled, ordered]);
    } finally {
      forgetTimer();
      this.expected.delete(consoleId);
    }
  }

  /** A host dials. @throws {AppError} `not_found` if this host was not asked to, or does so twice */
  claim(hostName: string, consoleId: string, note: string): HostEnd {
    const expected = this.expected.get(consoleId);
    if (!expected || this.options.fleet.hostName(expected.hostId) !== hostName) {
      throw notFound('no console of that id is asked for', { consoleId });
    }
    this.expected.delete(consoleId);
    const stream = new HostStream(note);
    expected.claim(stream);
    return stream;
  }
}
