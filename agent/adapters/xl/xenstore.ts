import { AppError } from '../../../shared/errors.js';
import type { Clock } from '../../ports/clock.js';
import { textsOf, XenstoreConnection, XenstoreError } from './xenstore-connection.js';
import { PACKET_TYPE } from './xenstore-packet.js';

/** A xenstored that is restarted is there again at once; one that is not there may never be. */
const RECONNECT_MIN_MS = 250;
const RECONNECT_MAX_MS = 5000;

/**
 * A client of xenstored over its Unix socket: nothing is forked. It connects when it is first used. While it has watches,
 * a connection that is lost is made anew, with the same watches.
 */
export class Xenstore {
  readonly #path: string;
  readonly #clock: Clock;
  readonly #watches = new Set<string>();
  #connection: Promise<XenstoreConnection> | undefined;
  #takeBackReconnect: (() => void) | undefined;
  #reconnectMs = RECONNECT_MIN_MS;
  isConnected = false;
  /** Called with the path of what changed; with "" after a connection came or went. */
  onChange: (path: string) => void = () => undefined;

  /** @param path of the socket, absolute */
  constructor(path: string, clock: Clock) {
    this.#path = path;
    this.#clock = clock;
  }

  /** @returns `undefined` if there is no such path @throws {AppError} `unavailable` */
  async read(path: string): Promise<string | undefined> {
    return unlessMissing(async () => (await this.#request(PACKET_TYPE.read, `${path}\0`)).toString('latin1'));
  }

  /** @returns the names below the path; `undefined` if there is no such path @throws {AppError} `unavailable` */
  async directory(path: string): Promise<readonly string[] | undefined> {
    return unlessMissing(async () => {
      try {
        return namesOf(await this.#request(PACKET_TYPE.directory, `${path}\0`));
      } catch (error) {
        // More names than one answer holds.
        if (error instanceof XenstoreError && error.errno === 'E2BIG') return this.#directoryInParts(path);
        throw error;
      }
    });
  }

  /** Tells of every change at or below the path from now on, and once at the beginning. Idempotent; never throws. */
  watch(path: string): void {
    if (this.#watches.has(path)) return;
    this.#watches.add(path);
    // One that opens the connection finds that this has set the watch already.
    this.#request(PACKET_TYPE.watch, watchOf(path)).catch(() => this.#reconnectLater());
  }

  /** Idempotent; never throws. */
  unwatch(path: string): void {
    if (!this.#watches.delete(path) || this.#connection === undefined) return;
    this.#request(PACKET_TYPE.unwatch, watchOf(path)).catch(() => undefined);
  }

  /** Forgets its watches, too; it may be used again. */
  close(): void {
    this.#watches.clear();
    this.#takeBackReconnect?.();
    this.#takeBackReconnect = undefined;
    const open = this.#connection;
    this.#connection = undefined;
    this.isConnected = false;
    open?.then(
      (connection) => connection.close(),
      () => undefined,
    );
  }

  // Answers begin with a generation count: if it changes between two parts, names may be missing or twice. Begin again then.
  async #directoryInParts(path: string): Promise<readonly string[]> {
    for (let attempt = 0; attempt < 5; attempt += 1) {
      const names: string[] = [];
      let generation: string | undefined;
      for (let offset = 0; ;) {
        const payload = await this.#request(PACKET_TYPE.directoryPart, `${path}\0${offset}\0`);
        const at = payload.indexOf(0);
        const now = payload.toString('latin1', 0, at);
        if (generation !== undefined && now !== generation) break;
        generation = now;
        const part = payload.subarray(at + 1);
        offset += part.length;
        // The last part ends with an empty name.
        const isLast = part.length < 2 || (part.at(-1) === 0 && part.at(-2) === 0);
        names.push(...namesOf(part).filter((name) => name !== ''));
        if (isLast) return names;
      }
    }
    throw new AppError('unavailable', `xenstored: ${path} changes faster than it can be read`);
  }

  async #request(type: number, payload: string): Promise<Buffer> {
    return (await this.#open()).request(type, payload);
  }

  #open(): Promise<XenstoreConnection> {
    if (this.#connection !== undefined) return this.#connection;
    const closed = (): void => {
      if (this.#connection !== opening) return;
      this.#connection = undefined;
      this.isConnected = false;
      this.onChange('');
      this.#reconnectLater();
    };
    const changed = (path: string): void => this.onChange(path);
    const opening = XenstoreConnection.open(this.#path, this.#clock, { changed, closed });
    this.#connection = opening;
    opening.then(
      (connection) => this.#opened(opening, connection),
      () => {
        if (this.#connection === opening) this.#connection = undefined;
      },
    );
    return opening;
  }

  #opened(opening: Promise<XenstoreConnection>, connection: XenstoreConnection): void {
    if (this.#connection !== opening) return;
    this.isConnected = true;
    this.#reconnectMs = RECONNECT_MIN_MS;
    // EEXIST of one that was set meanwhile, or the connection is lost again: both are met elsewhere.
    for (const path of this.#watches) connection.request(PACKET_TYPE.watch, watchOf(path)).catch(() => undefined);
    this.onChange('');
  }

  #reconnectLater(): void {
    if (this.#watches.size === 0 || this.isConnected || this.#takeBackReconnect !== undefined) return;
    this.#takeBackReconnect = this.#clock.schedule(this.#reconnectMs, () => {
      this.#takeBackReconnect = undefined;
      this.#reconnectMs = Math.min(this.#reconnectMs * 2, RECONNECT_MAX_MS);
      this.#open().catch(() => this.#reconnectLater());
    });
  }
}

// The path is its own token: it comes back with each event and with unwatch.
function watchOf(path: string): string {
  return `${path}\0${path}\0`;
}

function namesOf(payload: Buffer): readonly string[] {
  return payload.length === 0 ? [] : textsOf(payload);
}

async function unlessMissing<T>(read: () => Promise<T>): Promise<T | undefined> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof XenstoreError && error.errno === 'ENOENT') return undefined;
    throw error;
  }
}
