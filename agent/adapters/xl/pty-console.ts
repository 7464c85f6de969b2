import { constants, openSync } from 'node:fs';
import { ReadStream } from 'node:tty';
import { AppError, messageOf } from '../../../shared/errors.js';
import type { OpenConsole } from '../../ports/consoles.js';

/**
 * A pty that xenconsoled made. It has set it raw; nothing of it is changed here.
 *
 * A tty.WriteStream would write in blocking mode, and a guest that reads nothing would hold the whole agent up: both
 * directions go over the one that reads, which does not block.
 */
export class PtyConsole implements OpenConsole {
  readonly note: string | undefined;
  readonly #tty: ReadStream;

  /** @throws {AppError} `unavailable` */
  constructor(path: string, note: string | undefined) {
    this.note = note;
    try {
      this.#tty = new ReadStream(openSync(path, constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK));
    } catch (error) {
      throw new AppError('unavailable', `The console ${path} cannot be opened: ${messageOf(error)}`, { path }, error);
    }
    // Reads and writes of a pty whose master is closed fail with EIO: that is how the end of a domain shows.
    this.#tty.on('error', () => undefined);
  }

  get output(): AsyncIterable<Uint8Array> {
    return this.#read();
  }

  write(keys: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      const over = (): void => reject(new AppError('unavailable', 'The console is closed'));
      if (this.#tty.destroyed) return over();
      this.#tty.once('close', over);
      this.#tty.write(keys, (error) => {
        this.#tty.off('close', over);
        if (error) over();
        else resolve();
      });
    });
  }

  close(): void {
    this.#tty.destroy();
  }

  async *#read(): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      for await (const piece of this.#tty) yield piece as Buffer;
    } catch {
      // Closed by either side.
    } finally {
      this.close();
    }
  }
}
