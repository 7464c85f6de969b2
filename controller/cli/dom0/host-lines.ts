import type { Invocation } from '../invocation.js';
import { printable } from '../../../shared/domain/printable.js';

/** What each of several hosts is doing: on a terminal one line a host, written over; elsewhere a line a step. On stderr. */
export class HostLines {
  private readonly call: Invocation;
  private readonly lines = new Map<string, string>();
  private shown = 0;

  constructor(call: Invocation) {
    this.call = call;
  }

  /** @param note changes often, like a percentage: it is not worth a line of its own */
  step(host: string, text: string, note = ''): void {
    const before = this.lines.get(host);
    const line = note === '' ? text : `${text} ${note}`;
    if (before === line) return;
    this.lines.set(host, line);
    if (this.isLive) this.draw();
    else if (note === '') this.write(`${printable(`${host}: ${text}`)}\n`);
  }

  /** A line that stays. */
  tell(text: string): void {
    this.clear();
    this.write(`${printable(text)}\n`);
    if (this.isLive) this.draw();
  }

  /** The host's line is not written over any more. */
  done(host: string, text: string): void {
    this.lines.delete(host);
    this.tell(`${host}: ${text}`);
  }

  clear(): void {
    if (this.shown > 0) this.write(`\u001b[${String(this.shown)}A\u001b[J`);
    this.shown = 0;
  }

  private get isLive(): boolean {
    return this.call.world.stderr.isTTY === true && this.call.world.env['TERM'] !== 'dumb';
  }

  private draw(): void {
    this.clear();
    const width = (this.call.world.stderr.columns ?? 80) - 1;
    const lines = [...this.lines].map(([host, text]) => `${printable(`${host}: ${text}`).slice(0, width)}\n`);
    this.write(lines.join(''));
    this.shown = lines.length;
  }

  private write(text: string): void {
    this.call.world.stderr.write(text);
  }
}
