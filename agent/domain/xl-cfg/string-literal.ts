import { invalid } from '../../../shared/errors.js';
import { type Refuse, refuseAt } from './fault.js';
import type { Atom, Quote } from './syntax.js';

export type Decoded =
  | {
      readonly kind: 'ok';
      readonly value: string;
      /** Where each character of the value begins in the body; one entry more for the end of the body. */
      readonly offsets: readonly number[];
    }
  | { readonly kind: 'bad'; readonly offset: number; readonly reason: string };

const ESCAPES: ReadonlyMap<string, string> = new Map([
  ['"', '"'],
  ["'", "'"],
  ['\\', '\\'],
  ['a', '\x07'],
  ['b', '\b'],
  ['f', '\f'],
  ['n', '\n'],
  ['r', '\r'],
  ['t', '\t'],
  ['v', '\v'],
]);

/** Undoes the escapes of a string. @param body what stands between the quotes */
export function decodeString(body: string): Decoded {
  const offsets: number[] = [];
  let value = '';
  for (let at = 0; at < body.length;) {
    const piece = pieceAt(body, at);
    if (piece.kind === 'bad') return { kind: 'bad', offset: at, reason: piece.reason };
    if (piece.text !== '') offsets.push(at);
    value += piece.text;
    at += piece.length;
  }
  return { kind: 'ok', value, offsets: [...offsets, body.length] };
}

type Piece =
  | { readonly kind: 'piece'; readonly text: string; readonly length: number }
  | { readonly kind: 'bad'; readonly reason: string };

function pieceAt(body: string, at: number): Piece {
  const char = body.charAt(at);
  // xl works on C strings: it stops dead (assert) at such a byte.
  if (char === '\0') return { kind: 'bad', reason: 'a string holds a NUL byte' };
  if (char !== '\\') return { kind: 'piece', text: char, length: 1 };
  const letter = body.charAt(at + 1);
  const plain = ESCAPES.get(letter);
  if (plain !== undefined) return { kind: 'piece', text: plain, length: 2 };
  return /[0-7]/.test(letter) ? numberedEscape(body, at) : badEscape(letter);
}

// What xlu__cfgl_dequote does with \012 is surely not what it meant to do: of the three bytes behind the first digit it
// wants a decimal number that is two bytes or longer (blanks and a sign count), drops it and adds no character. \x41 is
// always refused. Model it, since the value that counts is the one that xl sees.
function numberedEscape(body: string, at: number): Piece {
  const number = /^[ \t\v\f\r]*[+-]?\d+/.exec(body.slice(at + 2, at + 5))?.[0] ?? '';
  return number.length < 2 ? badEscape(body.charAt(at + 1)) : { kind: 'piece', text: '', length: 2 + number.length };
}

function badEscape(letter: string): Piece {
  return { kind: 'bad', reason: `a string has a backslash before "${letter}", which xl cannot read` };
}

/**
 * Writes a string literal, quotes included, that xl reads as `value`.
 *
 * @throws {AppError} `invalid` if a character is a control character or above 0xff
 */
export function encodeString(value: string, quote: Quote): string {
  return `${quote}${escapeFor(value, quote)}${quote}`;
}

/** The same without the quotes: for a part of a string. */
export function escapeFor(value: string, quote: Quote): string {
  for (const char of value) {
    const code = char.codePointAt(0) ?? 0;
    if (code < 0x20 || code === 0x7f || code > 0xff) throw unwritable(code);
  }
  return value.replaceAll(/[\\'"]/g, (char) => (char === '\\' || char === quote ? `\\${char}` : char));
}

function unwritable(code: number): Error {
  return invalid(`The value holds a character that cannot be written into a configuration: code ${code}`, {
    character: `${code}`,
    hint: 'use printable characters, one byte each; text of another encoding goes in as its bytes',
  });
}

/**
 * Where a character of an atom's value stands in the text.
 *
 * @param index 0 to the length of the value, both included; the length stands for the place just behind the last one
 */
export function offsetInText(text: string, atom: Atom, index: number): number {
  if (atom.quote === undefined) return atom.start + index;
  const decoded = decodeString(text.slice(atom.start + 1, atom.end - 1));
  const offset = decoded.kind === 'ok' ? decoded.offsets[index] : undefined;
  return offset === undefined ? atom.end - 1 : atom.start + 1 + offset;
}

/** Refuses at a place in the value of an atom, which it tells as a place in the text. */
export function refuseInAtom(text: string, atom: Atom): Refuse {
  return (offset, reason, hint) => refuseAt(text, offsetInText(text, atom, offset), reason, hint);
}
