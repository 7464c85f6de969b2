import { connect, type Socket } from 'node:net';
import { AppError } from '../../../shared/errors.js';
import type { Clock } from '../../ports/clock.js';
import { encodePacket, PACKET_TYPE, PacketReader, type Packet } from './xenstore-packet.js';

/** xenstored answers in microseconds; one that is restarted or starved by its host gets some seconds. */
const ANSWER_MS = 5000;

interface Pending {
  readonly resolve: (payload: Buffer) => void;
  readonly reject: (error: unknown) => void;
  readonly takeBackLimit: () => void;
}

export interface ConnectionListener {
  /** @param path the one that was written, or a special one like "@releaseDomain" */
  changed(path: string): void;
  /** Once; nothing comes after it. */
  closed(): void;
}

/** An error that xenstored answered, by its name: ENOENT, EACCES, E2BIG, ... */
export class XenstoreError extends AppError {
  readonly errno: string;

  constructor(errno: string) {
    super('unavailable', `xenstored answers ${errno}`, { errno });
    this.errno = errno;
  }
}

/** One connection to xenstored; requests may overlap. A request that is not answered in time ends it. */
export class XenstoreConnection {
  readonly #socket: Socket;
  readonly #clock: Clock;
  readonly #listener: ConnectionListener;
  readonly #reader = new PacketReader();
  readonly #pending = new Map<number, Pending>();
  #lastId = 0;

  private constructor(socket: Socket, clock: Clock, listener: ConnectionListener) {
    this.#socket = socket;
    this.#clock = clock;
    this.#listener = listener;
    socket.on('data', (piece) => this.#receive(piece));
    socket.on('error', () => undefined);
    socket.once('close', () => this.#end());
  }

  /** @throws {AppError} `unavailable` if nobody listens there */
  static open(path: string, clock: Clock, listener: ConnectionListener): Promise<XenstoreConnection> {
    return new Promise((resolve, reject) => {
      const socket = connect(path);
      const fail = (error: Error): void => {
        reject(new AppError('unavailable', `xenstored cannot be reached: ${error.message}`, { path }, error));
      };
      socket.once('error', fail);
      socket.once('connect', () => {
        socket.off('error', fail);
        resolve(new XenstoreConnection(socket, clock, listener));
      });
    });
  }

  /** @throws {AppError} `unavailable`; a {@link XenstoreError} for one that xenstored answers */
  request(type: number, payload: string): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      if (this.#socket.destroyed) return reject(lost());
      this.#lastId = (this.#lastId + 1) % 2 ** 31;
      const takeBackLimit = this.#clock.schedule(ANSWER_MS, () => this.close());
      this.#pending.set(this.#lastId, { resolve, reject, takeBackLimit });
      this.#socket.write(encodePacket(type, this.#lastId, payload));
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  #receive(piece: Buffer): void {
    try {
      for (const packet of this.#reader.push(piece)) this.#obey(packet);
    } catch {
      this.close();
    }
  }

  #obey({ type, requestId, payload }: Packet): void {
    if (type === PACKET_TYPE.watchEvent) return this.#listener.changed(textsOf(payload)[0] ?? '');
    const pending = this.#pending.get(requestId);
    if (pending === undefined) return;
    this.#pending.delete(requestId);
    pending.takeBackLimit();
    if (type === PACKET_TYPE.error) pending.reject(new XenstoreError(textsOf(payload)[0] ?? ''));
    else pending.resolve(payload);
  }

  #end(): void {
    for (const { reject, takeBackLimit } of this.#pending.values()) {
      takeBackLimit();
      reject(lost());
    }
    this.#pending.clear();
    this.#listener.closed();
  }
}

/** Texts that end with a 0 byte each. */
export function textsOf(payload: Buffer): readonly string[] {
  const text = payload.toString('latin1');
  return (text.endsWith('\0') ? text.slice(0, -1) : text).split('\0');
}

function lost(): AppError {
  return new AppError('unavailable', 'xenstored does not answer');
}
