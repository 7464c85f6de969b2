/** What a guest may write as one line before it is shown in parts. */
const MAX_LINE_BYTES = 64 * 1024;
const NEWLINE = 10;

// ECMA-48: a control sequence, a string that ends with BEL or ST, any other escape sequence.
const SEQUENCE = /\u001b\[[0-?]*[ -/]*[@-~]|\u001b[\]PX^_][^\u0007\u001b]*(?:\u0007|\u001b\\|$)|\u001b[ -/]*[0-~]?/g;
const COLOUR = /^\u001b\[[\d;]*m$/;
/** Control, format and unassigned characters, but not the tab and the escape sequences that are left. */
const HIDDEN = /(?![\t\u001b])\p{C}/gu;

/**
 * Makes of what a guest wrote on its console something that cannot move a cursor, change a title, ask the terminal for an answer
 * or hide: lines, with their colours if those are welcome.
 */
export class LogText {
  private readonly isColoured: boolean;
  private rest: Buffer = Buffer.alloc(0);

  constructor(isColoured: boolean) {
    this.isColoured = isColoured;
  }

  /** @returns the lines that are whole now */
  push(piece: Uint8Array): string {
    const bytes = Buffer.concat([this.rest, piece]);
    const last = bytes.lastIndexOf(NEWLINE) + 1;
    const end = last === 0 && bytes.length > MAX_LINE_BYTES ? bytes.length : last;
    this.rest = bytes.subarray(end);
    return this.clean(bytes.subarray(0, end));
  }

  /** @returns what is left; a line of its own */
  end(): string {
    const text = this.clean(this.rest);
    this.rest = Buffer.alloc(0);
    return text === '' ? '' : `${text}\n`;
  }

  private clean(bytes: Uint8Array): string {
    if (bytes.length === 0) return '';
    const text = Buffer.from(bytes).toString('utf8').replaceAll(/\r+\n/g, '\n').replaceAll('\r', '\n');
    return text
      .split('\n')
      .map((line) => this.cleanLine(line))
      .join('\n');
  }

  private cleanLine(line: string): string {
    const bare = line.replaceAll(SEQUENCE, (sequence) => (this.isColoured && COLOUR.test(sequence) ? sequence : ''));
    return bare.replaceAll(HIDDEN, '') + (bare.includes('\u001b') ? '\u001b[0m' : '');
  }
}
