import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';

/** The guest's end of a real pty, in a process of its own, as xenconsoled keeps it. */
export class FakeGuest {
  /** /dev/pts/N */
  readonly tty: string;
  /** What was typed, as far as it was taken. */
  heard = '';
  readonly #process: ChildProcessByStdio<Writable, Readable, null>;

  private constructor(tty: string, process: ChildProcessByStdio<Writable, Readable, null>) {
    this.tty = tty;
    this.#process = process;
    process.stdout.on('data', (piece: Buffer) => void (this.heard += piece.toString('latin1')));
  }

  static async start(): Promise<FakeGuest> {
    const script = join(process.cwd(), 'test', 'fakes', 'fake-guest.py');
    const child = spawn('python3', [script], { stdio: ['pipe', 'pipe', 'inherit'] });
    const [line] = (await once(child.stdout, 'data')) as [Buffer];
    return new FakeGuest(line.toString().trim(), child);
  }

  say(text: string): void {
    this.#process.stdin.write(text, 'latin1');
  }

  /** It takes nothing that is typed any more, until {@link hear}. */
  goDeaf(): void {
    this.#process.stdout.pause();
  }

  hear(): void {
    this.#process.stdout.resume();
  }

  /** The domain ends: xenconsoled closes its end of the pty. Idempotent. */
  async end(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const gone = once(this.#process, 'exit');
    this.#process.stdin.end();
    this.hear();
    await gone;
  }
}
