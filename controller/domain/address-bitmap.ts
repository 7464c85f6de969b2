/**
 * Which positions of a pool are used.
 *
 * Invariants:
 * - A bit of `words` is 1 when the position is used; bits beyond the size are always 1.
 * - A bit of `summary` is 1 when the whole word is used; so 32 summary words skip 32768 used positions.
 */
import { AppError } from '../../shared/errors.js';

const FULL = 0xffff_ffff;

export class AddressBitmap {
  readonly size: number;
  readonly #words: Uint32Array;
  readonly #summary: Uint32Array;
  #usedCount = 0;

  /** @param size positions 0 to `size` - 1, all free at first; 0 to 2**31 */
  constructor(size: number) {
    if (!Number.isInteger(size) || size < 0 || size > 2 ** 31) throw outOfRange(`a bitmap of ${size} positions`);
    this.size = size;
    this.#words = new Uint32Array(Math.ceil(size / 32));
    this.#summary = new Uint32Array(Math.ceil(this.#words.length / 32));
    fillTail(this.#words, size);
    fillTail(this.#summary, this.#words.length);
  }

  get usedCount(): number {
    return this.#usedCount;
  }

  get freeCount(): number {
    return this.size - this.#usedCount;
  }

  isUsed(position: number): boolean {
    this.#check(position);
    return ((wordAt(this.#words, position >>> 5) >>> (position & 31)) & 1) === 1;
  }

  /** Idempotent. @returns whether it was free */
  use(position: number): boolean {
    if (this.isUsed(position)) return false;
    const word = position >>> 5;
    setBit(this.#words, position);
    if (wordAt(this.#words, word) === FULL) setBit(this.#summary, word);
    this.#usedCount++;
    return true;
  }

  /** Idempotent. @returns whether it was used */
  free(position: number): boolean {
    if (!this.isUsed(position)) return false;
    clearBit(this.#words, position);
    clearBit(this.#summary, position >>> 5);
    this.#usedCount--;
    return true;
  }

  /**
   * Next-fit: the first free position above `after`, else the first from 0 up to and including it. It is not taken.
   *
   * @param after `undefined` starts at 0
   * @returns `undefined` when all are used
   */
  findFree(after: number | undefined): number | undefined {
    const start = this.#startOf(after);
    return this.#firstFreeFrom(start) ?? this.#firstFreeFrom(0);
  }

  /** Every free position once, in next-fit order; lazy, so positions that are taken meanwhile ahead of it are skipped. */
  *freeIterator(after: number | undefined): Generator<number, void, undefined> {
    const start = this.#startOf(after);
    for (let at = this.#firstFreeFrom(start); at !== undefined; at = this.#firstFreeFrom(at + 1)) yield at;
    for (let at = this.#firstFreeFrom(0); at !== undefined && at < start; at = this.#firstFreeFrom(at + 1)) yield at;
  }

  /** The first `count` of {@link freeIterator}, fewer if fewer are free; none is taken. */
  nextFree(count: number, after: number | undefined): number[] {
    const positions: number[] = [];
    if (count < 1) return positions;
    for (const position of this.freeIterator(after)) {
      positions.push(position);
      if (positions.length >= count) break;
    }
    return positions;
  }

  #startOf(after: number | undefined): number {
    if (after === undefined) return 0;
    this.#check(after);
    return after + 1;
  }

  /** `start` may be the size: then there is none. */
  #firstFreeFrom(start: number): number | undefined {
    if (start >= this.size) return undefined;
    const word = start >>> 5;
    const here = lowestZero(wordAt(this.#words, word), start & 31);
    if (here !== undefined) return word * 32 + here;
    const next = this.#firstWordWithRoom(word + 1);
    if (next === undefined) return undefined;
    return next * 32 + (lowestZero(wordAt(this.#words, next), 0) ?? 0);
  }

  #firstWordWithRoom(start: number): number | undefined {
    let fromBit = start & 31;
    for (let group = start >>> 5; group < this.#summary.length; group++) {
      const bit = lowestZero(wordAt(this.#summary, group), fromBit);
      if (bit !== undefined) return group * 32 + bit;
      fromBit = 0;
    }
    return undefined;
  }

  #check(position: number): void {
    if (Number.isInteger(position) && position >= 0 && position < this.size) return;
    throw outOfRange(`position ${position} of a bitmap of ${this.size}`);
  }
}

function outOfRange(what: string): AppError {
  return new AppError('internal', `${what} does not exist`);
}

function wordAt(words: Uint32Array, index: number): number {
  return words[index] ?? FULL;
}

function setBit(words: Uint32Array, bit: number): void {
  words[bit >>> 5] = wordAt(words, bit >>> 5) | (1 << (bit & 31));
}

function clearBit(words: Uint32Array, bit: number): void {
  words[bit >>> 5] = wordAt(words, bit >>> 5) & ~(1 << (bit & 31));
}

function fillTail(words: Uint32Array, bits: number): void {
  if (bits % 32 !== 0) words[words.length - 1] = FULL << (bits % 32);
}

/** The lowest bit that is 0, at `fromBit` (0 to 31) or above. */
function lowestZero(word: number, fromBit: number): number | undefined {
  const zeros = ~word & (FULL << fromBit);
  return zeros === 0 ? undefined : 31 - Math.clz32(zeros & -zeros);
}
