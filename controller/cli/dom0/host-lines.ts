import type { Invocation } from '../invocation.js';
import { LiveRegion } from '../live-region.js';
import { isLive } from '../terminal-text.js';
import { printable } from '../../../shared/domain/printable.js';

/** What each of several hosts is doing: on a terminal one line a host, written over; elsewhere a line a step. On stderr. */
export class HostLines {
  private readonly call: Invocation;
  private readonly lines = new Map<string, string>();
  private readonly region: LiveRegion;

  constructor(call: Invocation) {
    this.call = call;
    this.region = new LiveRegion(call.world.stderr);
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
    this.region.clear();
  }

  private get isLive(): boolean {
    return isLive(this.call.world.stderr, this.call.world.env);
  }

  private draw(): void {
    this.region.draw([...this.lines].map(([host, text]) => `${host}: ${text}`));
  }

  private write(text: string): void {
    this.call.world.stderr.write(text);
  }
}
