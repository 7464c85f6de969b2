import { AppError, wrongState } from '../../shared/errors.js';
import type { Caller } from '../domain/caller.js';
import type { VmId } from '../domain/lease.js';
import type { Vm } from '../domain/vm.js';
import type { ConsoleLogTail } from '../ports/agent-link.js';
import type { Fleet } from './fleet.js';
import type { HostStream, HostStreams } from './host-streams.js';
import type { Journal } from './journal.js';
import type { VmOperator } from './vm-operator.js';
import type { VmQuery } from './vm-query.js';

export interface ConsoleHubOptions {
  readonly fleet: Fleet;
  readonly query: VmQuery;
  readonly operator: VmOperator;
  readonly journal: Journal;
  readonly streams: HostStreams;
}

export interface AttachRequest {
  readonly name: string;
  /** Never writes. */
  readonly isWatching: boolean;
}

export interface ConsoleWriter {
  /** `undefined`: nobody writes. */
  readonly actor: string | undefined;
  readonly isYou: boolean;
}

export type ConsoleEvent =
  | {
      readonly kind: 'attached';
      /** NAME@HOST. */
      readonly vm: string;
      readonly isSimulated: boolean;
      readonly writer: ConsoleWriter;
      /** For people, from the host; may be empty. */
      readonly note: string;
    }
  | { readonly kind: 'output'; readonly bytes: Uint8Array }
  | { readonly kind: 'writer'; readonly writer: ConsoleWriter }
  | { readonly kind: 'ended'; readonly reason: string };

/** What may wait for one who reads; a screenful has 10 kB. */
const SEAT_BYTES = 512 * 1024;

/** One who is attached. */
export class ConsoleSeat {
  readonly actor: string;
  readonly isWatching: boolean;
  private readonly room: ConsoleRoom;
  private readonly waiting: ConsoleEvent[] = [];
  private bytes = 0;
  private end: { readonly error?: unknown } | undefined;
  private wake: () => void = () => undefined;

  constructor(actor: string, isWatching: boolean, room: ConsoleRoom) {
    this.actor = actor;
    this.isWatching = isWatching;
    this.room = room;
  }

  /** Once. @throws {AppError} `exhausted` (read too slowly), `unavailable` (the host is gone) */
  async *events(): AsyncGenerator<ConsoleEvent, void, undefined> {
    for (;;) {
      if (this.end && 'error' in this.end) throw this.end.error;
      const event = this.waiting.shift();
      if (event) {
        if (event.kind === 'output') this.bytes -= event.bytes.length;
        yield event;
      } else if (this.end) return;
      else await new Promise<void>((resolve) => (this.wake = resolve));
    }
  }

  /** Resolves when more may be typed. Of one who does not write it is dropped. */
  type(keys: Uint8Array): Promise<void> {
    return this.room.type(this, keys);
  }

  /** Idempotent. */
  leave(): void {
    this.close();
    this.room.left(this);
  }

  /** Comes before all that was told since it sat down. */
  greet(event: ConsoleEvent): void {
    this.waiting.unshift(event);
  }

  tell(event: ConsoleEvent): void {
    if (this.end) return;
    if (event.kind === 'output') this.bytes += event.bytes.length;
    this.waiting.push(event);
    this.wake();
    if (this.bytes <= SEAT_BYTES) return;
    // The others, and the guest, are not to wait for one who does not read.
    this.close(
      new AppError('exhausted', 'you were let go of: the console says more than you read', {
        hint: 'attach again; what was said is in: domherd vm console VM --log',
      }),
    );
    this.room.left(this);
  }

  close(error?: unknown): void {
    this.end ??= error === undefined ? {} : { error };
    this.wake();
  }
}

/** The console of one VM while anybody is attached. */
class ConsoleRoom {
  readonly opened: Promise<HostStream>;
  private readonly seats = new Set<ConsoleSeat>();
  private readonly onOver: () => void;
  private stream: HostStream | undefined;
  private writer: ConsoleSeat | undefined;

  constructor(opened: Promise<HostStream>, onOver: () => void) {
    this.opened = opened;
    this.onOver = onOver;
    void opened.then(
      (stream) => this.run(stream),
      () => onOver(),
    );
  }

  /** The first who does not only watch writes. */
  sit(actor: string, isWatching: boolean): ConsoleSeat {
    const seat = new ConsoleSeat(actor, isWatching, this);
    this.seats.add(seat);
    if (!isWatching) this.writer ??= seat;
    return seat;
  }

  writerFor(seat: ConsoleSeat): ConsoleWriter {
    return { actor: this.writer?.actor, isYou: this.writer === seat };
  }

  async type(seat: ConsoleSeat, keys: Uint8Array): Promise<void> {
    if (this.writer === seat) await this.stream?.send(keys);
  }

  left(seat: ConsoleSeat): void {
    if (!this.seats.delete(seat)) return;
    if (this.seats.size === 0) {
      this.onOver();
      this.stream?.close();
      return;
    }
    if (this.writer !== seat) return;
    this.writer = [...this.seats].find(({ isWatching }) => !isWatching);
    for (const other of this.seats) other.tell({ kind: 'writer', writer: this.writerFor(other) });
  }

  private async run(stream: HostStream): Promise<void> {
    this.stream = stream;
    // Everybody left while the host dialled.
    if (this.seats.size === 0) stream.close();
    try {
      for await (const bytes of stream.received) this.tellAll({ kind: 'output', bytes });
      this.tellAll({ kind: 'ended', reason: stream.reason ?? '' });
      this.closeAll();
    } catch (error) {
      this.closeAll(error);
    } finally {
      this.onOver();
    }
  }

  private tellAll(event: ConsoleEvent): void {
    for (const seat of [...this.seats]) seat.tell(event);
  }

  private closeAll(error?: unknown): void {
    for (const seat of this.seats) seat.close(error);
  }
}

/**
 * The consoles that people are attached to.
 *
 * Invariants:
 * - A host opens a console once, however many look at it: two that read one pty take it from each other.
 * - One person writes; nobody who reads slowly holds up the others or the guest.
 */
export class ConsoleHub {
  private readonly options: ConsoleHubOptions;
  private readonly rooms = new Map<VmId, ConsoleRoom>();

  constructor(options: ConsoleHubOptions) {
    this.options = options;
  }

  /**
   * The first event tells what it is attached to.
   *
   * @param signal makes it leave
   * @throws {AppError} `not_found`, `invalid` (several have that name), `wrong_state` (it has no domain), `unavailable`,
   *   `timeout`
   */
  async attach({ name, isWatching }: AttachRequest, caller: Caller, signal: AbortSignal): Promise<ConsoleSeat> {
    const { fleet } = this.options;
    const vm = this.find(name);
    if (vm.state === 'stopped') throw stopped(fleet.label(vm));
    const room = this.roomOf(vm);
    const seat = room.sit(caller.actor, isWatching);
    signal.addEventListener('abort', () => seat.leave(), { once: true });
    try {
      const { note } = await room.opened;
      if (signal.aborted) throw new AppError('unavailable', 'the call is over');
      await this.record(vm, caller, isWatching);
      const writer = room.writerFor(seat);
      seat.greet({ kind: 'attached', vm: fleet.label(vm), isSimulated: fleet.isSimulated(vm.hostId), writer, note });
      return seat;
    } catch (error) {
      seat.leave();
      throw error;
    }
  }

  /** Ends with the log, or with `signal`. @throws {AppError} as {@link attach}; `not_found` also if there is no log of it */
  async *readLog(name: string, tail: ConsoleLogTail, signal: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
    const stream = await this.options.streams.open(this.find(name), tail);
    const close = (): void => stream.close();
    signal.addEventListener('abort', close, { once: true });
    if (signal.aborted) close();
    try {
      yield* stream.received;
    } finally {
      signal.removeEventListener('abort', close);
      close();
    }
  }

  private find(name: string): Vm {
    const { vm } = this.options.query.get(name);
    const refusal = this.options.operator.refusal(vm);
    if (refusal) throw refusal;
    return vm;
  }

  private roomOf(vm: Vm): ConsoleRoom {
    const known = this.rooms.get(vm.id);
    if (known) return known;
    const room: ConsoleRoom = new ConsoleRoom(this.options.streams.open(vm, undefined), () => {
      if (this.rooms.get(vm.id) === room) this.rooms.delete(vm.id);
    });
    this.rooms.set(vm.id, room);
    return room;
  }

  private async record(vm: Vm, caller: Caller, isWatching: boolean): Promise<void> {
    const { journal, operator, fleet } = this.options;
    const message = `${caller.actor} ${isWatching ? 'watches' : 'attached to'} the console of VM ${fleet.label(vm)}`;
    await journal.submit((tx) => operator.record(tx, caller, vm, { kind: 'vm.console-attached', message }));
  }
}

function stopped(label: string): AppError {
  const hint = `domherd vm start ${label}; what it said before: domherd vm console ${label} --log`;
  return wrongState(`VM ${label} is stopped: it has no console`, { state: 'stopped', hint });
}
