import { invalid } from '../errors.js';
import { printable } from './printable.js';

// Names as people write many of them: `web-[1-20]`, `web-[01-20]`, `web-[1-3,7]`, `web-*`, `*@dom0-1`. Brackets stand for
// names that are told one by one, whether they exist or not; `*` stands for whatever exists.

/** Of one pattern. A fleet has fewer VMs, and a typing error must not fill the memory. */
export const MAX_EXPANDED = 10_000;
/** Each is compared with every name there is. */
const MAX_GLOBS = 256;
const MAX_PATTERN = 512;
/** What can be counted without thinking of precision. */
const MAX_DIGITS = 9;

/** Whether it stands for more than itself. */
export function isPattern(text: string): boolean {
  return /[*[\]]/.test(text);
}

/** Whether it has a `*`: once expanded, what is left of a pattern that has to be compared with the names there are. */
export function isGlob(text: string): boolean {
  return text.includes('*');
}

/**
 * Writes out the brackets, in order; `*` is left as it is. A first number with leading zeros sets the width of all.
 *
 * @returns at least one, at most {@link MAX_EXPANDED}; each once
 * @throws {AppError} `invalid`: brackets that are not closed, empty, or hold no numbers, a range that runs backwards, more
 *   names than that
 */
export function expandPattern(text: string): readonly string[] {
  if (text.length > MAX_PATTERN) throw invalid(`pattern is longer than ${MAX_PATTERN} characters`, HINT);
  const parts = splitBrackets(text);
  // Counted before anything is made: a range of 10^9 is refused, not tried.
  const count = parts.reduce((product, part) => product * part.count, 1);
  if (count > MAX_EXPANDED) {
    throw invalid(`pattern "${printable(text)}" stands for ${count} names, more than ${MAX_EXPANDED}`, {
      pattern: text,
      hint: 'name fewer at once, or use *, which stands for those that exist',
    });
  }
  const names = parts.reduce<readonly string[]>(
    (heads, part) => {
      const tails = part.texts();
      return heads.flatMap((head) => tails.map((tail) => head + tail));
    },
    [''],
  );
  return [...new Set(names)];
}

/** Expands the patterns of one request: what they stand for together is bounded too. */
export class PatternExpander {
  private names = 0;
  private globs = 0;

  /** @throws {AppError} as {@link expandPattern}; `invalid` when all so far are too many */
  expand(text: string): readonly string[] {
    const names = expandPattern(text);
    this.names += names.length;
    this.globs += names.filter(isGlob).length;
    if (this.names > MAX_EXPANDED) throw invalid(`the patterns stand for more than ${MAX_EXPANDED} names`, FEWER);
    if (this.globs > MAX_GLOBS) throw invalid(`the patterns stand for more than ${MAX_GLOBS} with a *`, FEWER);
    return names;
  }
}

/** `*` is any text, none too. Takes time in proportion to the product of both lengths at worst, whatever is in them. */
export function matchesGlob(glob: string, name: string): boolean {
  let [g, n, star, resume] = [0, 0, -1, 0];
  while (n < name.length) {
    if (glob[g] === '*') {
      star = g;
      g += 1;
      resume = n;
    } else if (glob[g] === name[n]) {
      g += 1;
      n += 1;
    } else if (star >= 0) {
      // What the last star stands for is one longer than was tried.
      g = star + 1;
      resume += 1;
      n = resume;
    } else return false;
  }
  while (glob[g] === '*') g += 1;
  return g === glob.length;
}

/** Splits at commas, but not at those inside brackets: "dom0-[1-3,7],dom0-9" is two. Empty parts are left out. */
export function splitNames(text: string): readonly string[] {
  return (text.match(/(?:\[[^\]]*\]?|[^,[])+/g) ?? []).map((part) => part.trim()).filter((part) => part !== '');
}

interface Part {
  readonly count: number;
  readonly texts: () => readonly string[];
}

const FEWER = { hint: 'name fewer at once' };
const HINT = { hint: 'write web-[1-20], web-[01-20], web-[1-3,7] or web-*' };

function splitBrackets(text: string): readonly Part[] {
  const pieces = text.match(/\[[^[\]]*\]|[^[\]]+|[[\]]/g) ?? [];
  return pieces.map((piece) => {
    if (piece === '[' || piece === ']') throw bad(text, `a ${piece} without its other half`);
    if (!piece.startsWith('[')) return { count: 1, texts: () => [piece] };
    const ranges = piece
      .slice(1, -1)
      .split(',')
      .map((range) => parseRange(range, text));
    return {
      count: ranges.reduce((sum, { count }) => sum + count, 0),
      texts: () => ranges.flatMap((range) => range.texts()),
    };
  });
}

/** "7", "1-20", "01-20". */
function parseRange(range: string, text: string): Part {
  const [, first = '', last = first] = /^(\d+)(?:-(\d+))?$/.exec(range) ?? [];
  if (first === '') throw bad(text, range === '' ? 'nothing between brackets or commas' : `"${range}" in its brackets`);
  if (Math.max(first.length, last.length) > MAX_DIGITS) throw bad(text, `a number of more than ${MAX_DIGITS} digits`);
  const [from, to] = [Number(first), Number(last)];
  if (from > to) throw bad(text, `the range ${range}, which runs backwards`);
  const hasWidth = first.startsWith('0') && first.length > 1;
  // 1-020 is either 1 ... 20 or 001 ... 020.
  if (!hasWidth && last.startsWith('0') && last.length > 1) throw bad(text, `the range ${range}, of two widths`);
  const width = hasWidth ? first.length : 1;
  const count = to - from + 1;
  return { count, texts: () => Array.from({ length: count }, (_, n) => String(from + n).padStart(width, '0')) };
}

function bad(text: string, what: string): Error {
  return invalid(`pattern "${printable(text)}" has ${printable(what)}`, { pattern: text, ...HINT });
}
