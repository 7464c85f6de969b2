import { open, readdir, readFile, stat, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { AppError, invalid, messageOf, notFound, wrongState } from '../../../shared/errors.js';
import { lastLines, MAX_LOG_BYTES } from '../../domain/console-log.js';
import type { Clock } from '../../ports/clock.js';
import type { Consoles, LogTail, OpenConsole } from '../../ports/consoles.js';
import { sleep } from '../../services/sleep.js';
import { PtyConsole } from './pty-console.js';
import { Xenstore } from './xenstore.js';

/** Where Xen's console daemon and its client keep things. */
export interface ConsolePlaces {
  readonly xenstoreSocket: string;
  readonly logFolder: string;
  /** Of xenconsoled, whichever is there. */
  readonly pidFiles: readonly string[];
  readonly procFolder: string;
  /** `xenconsole.DOMID`, which `xl console` locks. */
  readonly lockFolder: string;
}

export function usualConsolePlaces(xenstoreSocket: string): ConsolePlaces {
  return {
    xenstoreSocket,
    logFolder: '/var/log/xen/console',
    pidFiles: ['/run/xenconsoled.pid', '/run/xen/xenconsoled.pid'],
    procFolder: '/proc',
    lockFolder: '/run/lock',
  };
}

/** How often a log that is followed is looked at: it lies where nobody tells that it grew. */
const LOOK_MS = 500;
const PIECE_BYTES = 64 * 1024;

/** Consoles that xenconsoled keeps. Nothing is open while nobody is attached. */
export class XlConsoles implements Consoles {
  readonly #places: ConsolePlaces;
  readonly #clock: Clock;

  constructor(places: ConsolePlaces, clock: Clock) {
    this.#places = places;
    this.#clock = clock;
  }

  async open(name: string): Promise<OpenConsole> {
    const store = new Xenstore(this.#places.xenstoreSocket, this.#clock);
    try {
      const domid = await findDomid(store, name);
      if (domid === undefined) throw wrongState(`There is no domain ${name}`, { hint: `domherd vm start ${name}` });
      return new PtyConsole(await this.#ttyOf(store, name, domid), await this.#noteOf(domid));
    } finally {
      store.close();
    }
  }

  async openLog(name: string, tail: LogTail, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>> {
    if (name.includes('/')) throw invalid(`"${name}" is no name of a log file`, { name });
    const path = join(this.#places.logFolder, `guest-${name}.log`);
    let file: FileHandle;
    try {
      file = await open(path);
    } catch (error) {
      throw await this.#noLog(name, path, error);
    }
    return this.#readLog(path, file, tail, signal);
  }

  /** A guest with a serial line talks there, as `xl console` has it. */
  async #ttyOf(store: Xenstore, name: string, domid: string): Promise<string> {
    for (const which of ['serial/0', 'console']) {
      const path = await store.read(`/local/domain/${domid}/${which}/tty`);
      if (path === undefined || path === '') continue;
      if (!/^\/dev\/pts\/\d+$/.test(path)) throw wrongState(`The console of ${name} is no pty: ${path}`, { path });
      return path;
    }
    const hint = 'it comes with the domain: try again in a moment; is xenconsoled running on the host?';
    throw wrongState(`${name} has no console yet`, { hint });
  }

  /** `xl console` keeps a lock while it reads: two that read one pty each get a part of what is said. */
  async #noteOf(domid: string): Promise<string | undefined> {
    const { lockFolder, procFolder } = this.#places;
    const lock = await stat(join(lockFolder, `xenconsole.${domid}`)).catch(() => undefined);
    if (lock === undefined) return undefined;
    const locks = await readFile(join(procFolder, 'locks'), 'utf8').catch(() => '');
    const line = locks.split('\n').find((one) => new RegExp(`:${String(lock.ino)} `).test(one));
    const pid = line?.trim().split(/\s+/)[4];
    if (pid === undefined) return undefined;
    return `xl console (process ${pid}) reads this console on the host, too: each gets only a part of what is said`;
  }

  async #noLog(name: string, path: string, error: unknown): Promise<AppError> {
    const isMissing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    if (!isMissing) return new AppError('unavailable', `${path} cannot be read: ${messageOf(error)}`, { path }, error);
    if (await this.#isLogging())
      return notFound(`The console of ${name} has said nothing since it is logged`, { path });
    return wrongState('The consoles of this host are not logged', { path, hint: await this.#logHint() });
  }

  async #isLogging(): Promise<boolean> {
    const { pidFiles, procFolder, logFolder } = this.#places;
    for (const pidFile of pidFiles) {
      const pid = (await readFile(pidFile, 'utf8').catch(() => '')).trim();
      const argv = /^\d+$/.test(pid) ? await readFile(join(procFolder, pid, 'cmdline'), 'utf8').catch(() => '') : '';
      if (argv !== '') return /(^|\0)--log[=\0](guest|all)(\0|$)/.test(argv);
    }
    return (await readdir(logFolder).catch(() => [])).some((file) => file.startsWith('guest-'));
  }

  async #logHint(): Promise<string> {
    const isSet = /^[^#]*--log[= ](guest|all)|^XENCONSOLED_TRACE=["']?(guest|all)/m;
    for (const file of ['xen', 'xencommons']) {
      const text = await readFile(join('/etc/default', file), 'utf8').catch(() => '');
      if (isSet.test(text)) return 'they will be from the next boot of the host on: /etc/default says so already';
    }
    return 'domherd host add sees to it, from the next boot of the host on';
  }

  async *#readLog(
    path: string,
    first: FileHandle,
    { lines, isFollowed }: LogTail,
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    let file = first;
    try {
      const { size } = await file.stat();
      const from = Math.max(0, size - MAX_LOG_BYTES);
      let offset = size;
      yield* inPieces(lastLines(await readAt(file, from, size - from), lines, from === 0));
      while (isFollowed && (await sleep(this.#clock, LOOK_MS, signal))) {
        const now = await stat(path).catch(() => undefined);
        const open = await file.stat();
        if (now !== undefined && (now.ino !== open.ino || now.size < offset)) {
          await file.close();
          file = await openAnew(path);
          offset = 0;
        }
        for (let piece = await readAt(file, offset, PIECE_BYTES); piece.length > 0;) {
          offset += piece.length;
          yield piece;
          if (signal.aborted) return;
          piece = await readAt(file, offset, PIECE_BYTES);
        }
      }
    } finally {
      await file.close().catch(() => undefined);
    }
  }
}

async function openAnew(path: string): Promise<FileHandle> {
  try {
    return await open(path);
  } catch (error) {
    throw new AppError('unavailable', `${path} cannot be read any more: ${messageOf(error)}`, { path }, error);
  }
}

async function readAt(file: FileHandle, offset: number, length: number): Promise<Buffer> {
  const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(length), 0, length, offset);
  return buffer.subarray(0, bytesRead);
}

function* inPieces(bytes: Uint8Array): Generator<Uint8Array, void, undefined> {
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) yield bytes.subarray(at, at + PIECE_BYTES);
}

async function findDomid(store: Xenstore, name: string): Promise<string | undefined> {
  for (const domid of (await store.directory('/local/domain')) ?? []) {
    if (domid !== '0' && (await store.read(`/local/domain/${domid}/name`)) === name) return domid;
  }
  return undefined;
}
