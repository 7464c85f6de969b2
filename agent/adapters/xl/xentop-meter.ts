// Invariants:
// - xentop runs only while somebody asks: it ends some time after the last question, and with this program.
// - What it said is forgotten when it is too old to be true.
import type { Logger } from 'pino';
import type { Follow } from '../../../shared/exec.js';
import { backoffMs } from '../../domain/backoff.js';
import { parseXentopLine, type XentopRow } from '../../domain/xen/xentop.js';
import type { Clock } from '../../ports/clock.js';
import { sleep } from '../../services/sleep.js';

/** Whole seconds are all that xentop takes, and a pause must be seen within 2 s. */
const INTERVAL_SECONDS = 1;
/** Longer than a session goes without a look at the domains. */
const UNUSED_MS = 90_000;
/** Of the first block, on a slow host. */
const FIRST_BLOCK_MS = 3000;
/** The pieces of one block follow each other at once. */
const SETTLE_MS = 30;
/** A row of a xentop that died is believed until then. */
const BELIEVED_MS = 30_000;

export interface MeterReading {
  readonly flags: string;
  readonly cpuSeconds: number;
  /** Of one CPU, the mean since the last time it was taken; `undefined` before the second block. */
  readonly cpuPercent: number | undefined;
  readonly memoryMib: number;
}

interface Entry {
  row: XentopRow;
  atMs: number;
  /** Of the block that it was in. */
  block: number;
  percentSum: number;
  percentCount: number;
}

/** One long-lived `xentop`: what xenstore does not tell, without a fork for each look. */
export class XentopMeter {
  readonly #argv: readonly [string, ...string[]];
  readonly #follow: Follow;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #entries = new Map<string, Entry>();
  readonly #waiting = new Set<() => void>();
  #run: AbortController | undefined;
  #first: Promise<void> | undefined;
  #takeBackEnd: (() => void) | undefined;
  #usedAtMs = 0;
  #block = 0;
  #isTelling = false;
  #takeBackSettle: (() => void) | undefined;
  /** A line that has not come whole yet. */
  #rest = '';
  /** Called after the flags of a domain changed, or a domain came. */
  onChange: () => void = () => undefined;

  /** @param xentop absolute path */
  constructor(xentop: string, follow: Follow, clock: Clock, log: Logger) {
    this.#argv = [xentop, '-b', '-f', '-d', `${INTERVAL_SECONDS}`];
    this.#follow = follow;
    this.#clock = clock;
    this.#log = log;
  }

  /** Whether it tells something: without, a domain's flags are not known, and it is not new if it has none. */
  get isTelling(): boolean {
    return this.#isTelling;
  }

  /** Starts it if it does not run. @returns when it has told something, or after 3 s */
  async use(): Promise<void> {
    this.#usedAtMs = this.#clock.nowMs();
    if (this.#run === undefined) {
      this.#run = new AbortController();
      this.#first = this.#firstBlock();
      void this.#keepRunning(this.#run.signal);
      this.#endWhenUnused();
    }
    await this.#first;
  }

  /** `undefined`: not seen, or too long ago. */
  read(name: string): MeterReading | undefined {
    const entry = this.#entries.get(name);
    if (entry === undefined || this.#clock.nowMs() - entry.atMs > BELIEVED_MS) return undefined;
    const { flags, cpuSeconds, memoryMib } = entry.row;
    const cpuPercent = entry.percentCount === 0 ? undefined : entry.percentSum / entry.percentCount;
    return { flags, cpuSeconds, memoryMib, cpuPercent };
  }

  /** Begins a new mean of its CPU %. */
  settle(name: string): void {
    const entry = this.#entries.get(name);
    if (entry !== undefined) Object.assign(entry, { percentSum: 0, percentCount: 0 });
  }

  /** Another domain has the name now. */
  forget(name: string): void {
    this.#entries.delete(name);
  }

  /** What was done to it a moment ago; the next block says it, too. */
  setPaused(name: string, isPaused: boolean): void {
    const entry = this.#entries.get(name);
    if (entry !== undefined) entry.row = { ...entry.row, flags: isPaused ? 'p' : 'b' };
  }

  /** Ends it; it may be used again. */
  close(): void {
    this.#takeBackEnd?.();
    this.#run?.abort();
    this.#run = undefined;
    this.#silence();
    this.#entries.clear();
    this.#told();
  }

  async #keepRunning(signal: AbortSignal): Promise<void> {
    for (let failures = 0; ; failures += 1) {
      const startedMs = this.#clock.nowMs();
      this.#rest = '';
      const onOutput = (text: string): void => this.#receive(text, signal);
      const { outcome, stderr } = await this.#follow.follow(this.#argv, { signal, onOutput });
      if (signal.aborted) return;
      this.#silence();
      if (this.#clock.nowMs() - startedMs > BELIEVED_MS) failures = 0;
      const retryInMs = backoffMs(failures, 1);
      this.#log.warn({ outcome: outcome.kind, output: stderr, retryInMs }, 'xentop ended');
      if (!(await sleep(this.#clock, retryInMs, signal))) return;
    }
  }

  #receive(text: string, signal: AbortSignal): void {
    if (signal.aborted) return;
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop() ?? '';
    let isNews = false;
    for (const line of lines) {
      const parsed = parseXentopLine(line);
      if (parsed === 'header') this.#beginBlock();
      else if (parsed !== undefined) isNews = this.#put(parsed) || isNews;
    }
    if (!this.#isTelling && this.#block > 0) this.#settle();
    if (isNews) this.onChange();
  }

  #beginBlock(): void {
    // What was in neither of the last two blocks is gone.
    for (const [name, { block }] of this.#entries) if (block < this.#block) this.#entries.delete(name);
    this.#block += 1;
  }

  #put(row: XentopRow): boolean {
    const before = this.#entries.get(row.name);
    const entry = { row, atMs: this.#clock.nowMs(), block: this.#block };
    // Its first percentage is always 0: there is nothing before it.
    const { percentSum, percentCount } = before ?? { percentSum: 0, percentCount: 0 };
    const isFirst = before === undefined || this.#block === 1;
    const mean = isFirst
      ? { percentSum, percentCount }
      : { percentSum: percentSum + row.cpuPercent, percentCount: percentCount + 1 };
    this.#entries.set(row.name, { ...entry, ...mean });
    // Running and blocked change all the time and mean the same.
    return meaningOf(before?.row.flags) !== meaningOf(row.flags);
  }

  /** A block may come in pieces: one is whole when nothing follows. */
  #settle(): void {
    this.#takeBackSettle?.();
    this.#takeBackSettle = this.#clock.schedule(SETTLE_MS, () => {
      this.#isTelling = true;
      this.#told();
      this.onChange();
    });
  }

  #silence(): void {
    this.#takeBackSettle?.();
    this.#isTelling = false;
    this.#block = 0;
  }

  #told(): void {
    for (const tell of this.#waiting) tell();
    this.#waiting.clear();
  }

  #firstBlock(): Promise<void> {
    return new Promise((resolve) => {
      const takeBack = this.#clock.schedule(FIRST_BLOCK_MS, resolve);
      this.#waiting.add(() => {
        takeBack();
        resolve();
      });
    });
  }

  #endWhenUnused(): void {
    const leftMs = Math.max(0, this.#usedAtMs + UNUSED_MS - this.#clock.nowMs());
    this.#takeBackEnd = this.#clock.schedule(leftMs + 1, () => {
      if (this.#clock.nowMs() - this.#usedAtMs > UNUSED_MS) this.close();
      else this.#endWhenUnused();
    });
  }
}

function meaningOf(flags: string | undefined): string | undefined {
  return flags?.replace(/[br]/g, '');
}
