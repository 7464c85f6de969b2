import stringWidth from 'string-width';
import { printable } from '../../shared/domain/printable.js';
import type { Sink } from './world.js';

const UP = (rows: number): string => (rows === 0 ? '' : `\u001b[${String(rows)}A`);
const ERASE_LINE = '\u001b[K';
const ERASE_BELOW = '\u001b[J';
const COLUMNS = 80;
const ROWS = 24;

const ASCII = /^[\x20-\x7e]*$/;
const GRAPHEMES = new Intl.Segmenter();

/** The longest beginning that takes no more than `columns` of a terminal: a wide character is shown whole or not at all. */
export function cutToWidth(text: string, columns: number): string {
  if (ASCII.test(text)) return text.slice(0, columns);
  let [kept, width] = ['', 0];
  for (const { segment } of GRAPHEMES.segment(text)) {
    width += stringWidth(segment);
    if (width > columns) break;
    kept += segment;
  }
  return kept;
}

/**
 * Lines at the bottom of a terminal that are written over. Each frame is one write that moves up, writes over and erases what
 * is left of longer lines, so that nothing blinks; it is never higher than the terminal, whose scrolled lines cannot be
 * written over.
 */
export class LiveRegion {
  private readonly sink: Sink;
  /** Terminal columns of each line that stands there. */
  private widths: readonly number[] = [];

  constructor(sink: Sink) {
    this.sink = sink;
  }

  /** Lines that fit, the cursor's own counted. */
  get rows(): number {
    return Math.max(1, (this.sink.rows || ROWS) - 1);
  }

  private get columns(): number {
    return this.sink.columns || COLUMNS;
  }

  /** @param lines more than fit are left out, the first ones first */
  draw(lines: readonly string[]): void {
    // The last column stays empty: terminals differ in what a character there does to the cursor.
    const shown = lines.slice(-this.rows).map((line) => cutToWidth(printable(line), this.columns - 1));
    const frame = shown.map((line) => `${line}${ERASE_LINE}\n`).join('');
    this.sink.write(`${this.home()}${frame}${ERASE_BELOW}`);
    this.widths = shown.map((line) => stringWidth(line));
  }

  clear(): void {
    if (this.widths.length > 0) this.sink.write(`${this.home()}${ERASE_BELOW}`);
    this.widths = [];
  }

  /** To the region's first column; a terminal that became narrower has wrapped its lines. */
  private home(): string {
    const rows = this.widths.reduce((sum, width) => sum + Math.max(1, Math.ceil(width / this.columns)), 0);
    return `\r${UP(Math.min(rows, this.rows))}`;
  }
}
