import type { World } from './world.js';

export interface KeyboardOptions extends Pick<World, 'pause' | 'signal'> {
  readonly isTerminal: boolean;
  /** Bytes that leave; looked for on a terminal only. */
  readonly leavesBy: readonly number[];
  /** Resolves when more may be typed. @throws when nothing can be typed any more */
  readonly type: (keys: Uint8Array) => Promise<void>;
  readonly leave: () => void;
  /** Everything was typed. */
  readonly inputEnded: () => void;
}

const PIECE_BYTES = 32 * 1024;
/** What may wait to be typed. On a terminal much: while nothing is read from it, the key that leaves is not seen. */
const PIPE_BYTES = 64 * 1024;
const PASTE_BYTES = 1024 * 1024;
/** For what was typed before the key that leaves to go out; a guest that takes nothing holds nobody. */
const LEAVE_MS = 300;

/** Takes what is typed, each key at once; what is pasted goes out no faster than it is taken. */
export class Keyboard {
  private readonly stdin: World['stdin'];
  private readonly options: KeyboardOptions;
  private readonly waiting: Buffer[] = [];
  private bytes = 0;
  private sending: Promise<void> | undefined;
  private readonly onData = (keys: Buffer): void => this.pressed(keys);
  private readonly onEnd = (): void => void this.drained().then(() => this.options.inputEnded());

  constructor(stdin: World['stdin'], options: KeyboardOptions) {
    this.stdin = stdin;
    this.options = options;
    if (options.isTerminal) stdin.setRawMode?.(true);
    stdin.on('data', this.onData);
    stdin.once('end', this.onEnd);
    stdin.resume();
  }

  /** The terminal's mode is as it was. Idempotent. */
  close(): void {
    this.stdin.off('data', this.onData);
    this.stdin.off('end', this.onEnd);
    this.stdin.pause();
    if (this.options.isTerminal) this.stdin.setRawMode?.(false);
  }

  private pressed(keys: Buffer): void {
    const { isTerminal, leavesBy, pause, signal, leave } = this.options;
    const at = isTerminal ? keys.findIndex((key) => leavesBy.includes(key)) : -1;
    this.queue(at < 0 ? keys : keys.subarray(0, at));
    if (at < 0) return;
    this.stdin.off('data', this.onData);
    void Promise.race([this.drained(), pause(LEAVE_MS, signal)]).then(leave);
  }

  private queue(keys: Buffer): void {
    if (keys.length === 0) return;
    this.waiting.push(keys);
    this.bytes += keys.length;
    if (this.bytes > this.limit) this.stdin.pause();
    this.sending ??= this.send().finally(() => (this.sending = undefined));
  }

  private drained(): Promise<void> {
    return this.sending ?? Promise.resolve();
  }

  private async send(): Promise<void> {
    try {
      for (let keys = this.waiting.shift(); keys; keys = this.waiting.shift()) {
        for (let from = 0; from < keys.length; from += PIECE_BYTES) {
          await this.options.type(keys.subarray(from, from + PIECE_BYTES));
        }
        this.bytes -= keys.length;
        if (this.bytes <= this.limit) this.stdin.resume();
      }
    } catch {
      // The console is over: its other direction tells.
    }
  }

  private get limit(): number {
    return this.options.isTerminal ? PASTE_BYTES : PIPE_BYTES;
  }
}
