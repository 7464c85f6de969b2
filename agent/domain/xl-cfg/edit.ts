import { invalid } from '../../../shared/errors.js';
import { refuseAt } from './fault.js';
import { encodeString } from './string-literal.js';
import type { Assignment, Atom, Span, XlCfg } from './syntax.js';
import { effectiveParts, getNumber, getString, parseXlCfg } from './xl-cfg.js';

/**
 * Gives a key a string. The author's quotes stay; a missing key is put at the end; a value that is there already changes
 * nothing.
 *
 * @param key lower case letters, digits, `.` and `_`, a letter first
 * @param value characters from 0x20 to 0xff except 0x7f
 * @throws {AppError} `invalid` if key or value cannot be written, or the key holds a list
 */
export function setString(cfg: XlCfg, key: string, value: string): XlCfg {
  if (getString(cfg, key) === value) return cfg;
  const atom = editableAtom(cfg, key);
  const literal = encodeString(value, atom?.quote ?? "'");
  return atom === undefined ? append(cfg, key, literal) : splice(cfg, atom, literal);
}

/**
 * Gives a key an integer, in decimal, quoted if it was quoted before. A number that is there already, in whatever base,
 * changes nothing.
 *
 * @param value a safe integer; a negative one is always quoted, as xl knows no bare minus
 * @throws {AppError} `invalid` if key or value cannot be written, or the key holds a list
 */
export function setNumber(cfg: XlCfg, key: string, value: number): XlCfg {
  if (!Number.isSafeInteger(value)) {
    throw invalid(`${value} cannot be written as the number "${key}"`, { key, hint: 'give an integer' });
  }
  if (getNumber(cfg, key) === value) return cfg;
  const atom = editableAtom(cfg, key);
  const quote = atom?.quote ?? (value < 0 ? "'" : undefined);
  const literal = quote === undefined ? `${value}` : encodeString(`${value}`, quote);
  return atom === undefined ? append(cfg, key, literal) : splice(cfg, atom, literal);
}

/**
 * Takes out every assignment of a key (an earlier one would else come to life), each with its line if it has one to itself,
 * and the comment at the end of that line. A key that is not there changes nothing.
 */
export function removeKey(cfg: XlCfg, key: string): XlCfg {
  const last = cfg.assignments.findLast((assignment) => assignment.key === key);
  return last === undefined ? cfg : removeKey(splice(cfg, removalOf(cfg.text, last), ''), key);
}

/** Replaces a part of the text. @throws {AppError} `invalid` if xl would refuse the result */
export function splice(cfg: XlCfg, { start, end }: Span, replacement: string): XlCfg {
  return parseXlCfg(cfg.text.slice(0, start) + replacement + cfg.text.slice(end));
}

// A value made with += has no one place to edit. A plain assignment at the end wins over all of them and changes no byte.
function editableAtom(cfg: XlCfg, key: string): Atom | undefined {
  const last = effectiveParts(cfg, key).at(-1);
  if (last?.value.kind === 'list') {
    throw refuseAt(cfg.text, last.start, `"${key}" holds a list, not a single value`, 'edit the list by hand');
  }
  return last?.operator === '=' ? last.value : undefined;
}

function append(cfg: XlCfg, key: string, literal: string): XlCfg {
  if (!/^[a-z][._0-9a-z]*$/.test(key)) {
    throw invalid(`"${key}" is not a key of a configuration`, { key, hint: 'keys are lower case, e.g. on_reboot' });
  }
  const { text } = cfg;
  const newline = text === '' || text.endsWith('\n') ? '' : '\n';
  return splice(cfg, { start: text.length, end: text.length }, `${newline}${key} = ${literal}\n`);
}

function removalOf(text: string, { start, end }: Assignment): Span {
  const lineStart = text.lastIndexOf('\n', start - 1) + 1;
  const isFirst = text.slice(lineStart, start).trim() === '';
  const lineEnd = endOf(/[ \t]*;?[ \t]*(?:#[^\n]*)?(?:\n|$)/y, text, end);
  if (isFirst && lineEnd !== undefined) return { start: lineStart, end: lineEnd };
  const nextStart = endOf(/[ \t]*;[ \t]*/y, text, end);
  if (nextStart !== undefined) return { start, end: nextStart };
  return { start: text.slice(0, start).trimEnd().length, end };
}

function endOf(pattern: RegExp, text: string, start: number): number | undefined {
  pattern.lastIndex = start;
  return pattern.test(text) ? pattern.lastIndex : undefined;
}
