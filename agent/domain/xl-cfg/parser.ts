// Invariants:
// - The grammar is that of Xen's tools/libs/util/libxlu_cfg_y.y. xl goes on after a fault to report more; we stop at the first.
// - A key and its value stand on one line, except that a list may have newlines and comments after `[`, after an item
//   and after a comma. `;` never stands inside a list.
// - `+=` joins a string to a string, a list to a list; of another kind it is refused.
import type { AppError } from '../../../shared/errors.js';
import { refuseAt } from './fault.js';
import { type Token, type TokenKind, tokenize } from './lexer.js';
import { decodeString } from './string-literal.js';
import type { Assignment, Atom, List, Value } from './syntax.js';

// xl's own parser gives up near 5000. Nobody writes more than 3; this keeps the recursion below from filling the stack.
const MAX_DEPTH = 64;

const PYTHON_HINT =
  'this looks like Python code, which xm ran and xl does not: write plain key = value lines (https://wiki.xen.org/wiki/PythonInXlConfig)';
const SYNTAX_HINT = 'write one key = value a line; values are numbers, quoted strings or lists in [ ]';

interface Cursor {
  readonly text: string;
  readonly tokens: readonly Token[];
  index: number;
}

/**
 * @param text one character per byte
 * @throws {AppError} `invalid` with `line`, `column`, `reason` and `hint` for what xl would refuse
 */
export function parseAssignments(text: string): readonly Assignment[] {
  const cursor: Cursor = { text, tokens: tokenize(text), index: 0 };
  const assignments: Assignment[] = [];
  const kinds = new Map<string, Value['kind']>();
  while (peek(cursor).kind !== 'end') {
    if (accept(cursor, 'newline') || accept(cursor, ';')) continue;
    const assignment = parseAssignment(cursor);
    checkAddition(cursor, assignment, kinds);
    assignments.push(assignment);
    if (!accept(cursor, 'newline') && !accept(cursor, ';')) expect(cursor, 'end', 'the end of the line');
  }
  return assignments;
}

function parseAssignment(cursor: Cursor): Assignment {
  const word = expect(cursor, 'word', 'a key');
  const operator = accept(cursor, '+=') ? '+=' : '=';
  if (operator === '=') expect(cursor, '=', '= or +=');
  const value = parseValue(cursor, 0);
  return { key: cursor.text.slice(word.start, word.end), operator, value, start: word.start, end: value.end };
}

function checkAddition(cursor: Cursor, assignment: Assignment, kinds: Map<string, Value['kind']>): void {
  const { key, operator, value } = assignment;
  const before = kinds.get(key);
  if (operator === '+=' && before !== undefined && before !== value.kind) {
    const reason = `"${key}" cannot be a string and a list at once`;
    throw refuseAt(cursor.text, assignment.start, reason, 'add a list to a list, or a string to a string');
  }
  kinds.set(key, value.kind);
}

function parseValue(cursor: Cursor, depth: number): Value {
  const token = peek(cursor);
  if (accept(cursor, '[')) return parseList(cursor, token.start, depth + 1);
  if (accept(cursor, 'number')) {
    return { kind: 'atom', quote: undefined, value: cursor.text.slice(token.start, token.end), ...spanOf(token) };
  }
  return parseString(cursor, expect(cursor, 'string', 'a number, a quoted string or a list'));
}

function parseList(cursor: Cursor, start: number, depth: number): List {
  if (depth > MAX_DEPTH) throw refuseAt(cursor.text, start, `lists are nested over ${MAX_DEPTH} deep`, SYNTAX_HINT);
  const items: Value[] = [];
  skipNewlines(cursor);
  while (peek(cursor).kind !== ']') {
    items.push(parseValue(cursor, depth));
    skipNewlines(cursor);
    if (!accept(cursor, ',')) break;
    skipNewlines(cursor);
  }
  return { kind: 'list', items, start, end: expect(cursor, ']', 'a comma or ]').end };
}

function parseString(cursor: Cursor, token: Token): Atom {
  const decoded = decodeString(cursor.text.slice(token.start + 1, token.end - 1));
  if (decoded.kind === 'bad') {
    const hint = 'write a backslash as \\\\; others that work are \\" \\\' \\n \\t';
    throw refuseAt(cursor.text, token.start + 1 + decoded.offset, decoded.reason, hint);
  }
  const quote = cursor.text.charAt(token.start) === '"' ? '"' : "'";
  return { kind: 'atom', quote, value: decoded.value, ...spanOf(token) };
}

function spanOf(token: Token): { readonly start: number; readonly end: number } {
  return { start: token.start, end: token.end };
}

function peek(cursor: Cursor): Token {
  return cursor.tokens[cursor.index] ?? { kind: 'end', start: cursor.text.length, end: cursor.text.length };
}

function accept(cursor: Cursor, kind: TokenKind): boolean {
  if (peek(cursor).kind !== kind) return false;
  cursor.index += 1;
  return true;
}

function skipNewlines(cursor: Cursor): void {
  while (accept(cursor, 'newline'));
}

function expect(cursor: Cursor, kind: TokenKind, wanted: string): Token {
  const token = peek(cursor);
  if (!accept(cursor, kind)) throw unexpected(cursor, token, wanted);
  return token;
}

function unexpected(cursor: Cursor, token: Token, wanted: string): AppError {
  const { text, tokens } = cursor;
  const known = token.kind === 'illegal' ? illegal(text, token) : undefined;
  // xl warns of Python when one of these characters stands anywhere outside strings and comments.
  const isPython = tokens.some(({ kind, start }) => kind === 'illegal' && /[-+.():]/.test(text.charAt(start)));
  const reason = known?.reason ?? `${wanted} is expected, not ${shown(text, token)}`;
  return refuseAt(text, token.start, reason, known?.hint ?? (isPython ? PYTHON_HINT : SYNTAX_HINT));
}

function illegal(text: string, token: Token): { readonly reason: string; readonly hint: string } | undefined {
  const char = text.charAt(token.start);
  if (char === '\r')
    return { reason: 'the line ends in a carriage return', hint: 'convert the file to Unix line ends' };
  if (char === '#') return { reason: 'a comment ends without a newline', hint: 'end the last line with a newline' };
  if (char === "'" || char === '"') {
    return { reason: 'a string does not end on its line', hint: `close it with ${char}` };
  }
  if (/[A-Z]/.test(char))
    return { reason: 'a word begins with a capital', hint: 'keys are lower case, strings need quotes' };
  return undefined;
}

function shown(text: string, token: Token): string {
  if (token.kind === 'end') return 'the end of the file';
  return token.kind === 'newline'
    ? 'the end of the line'
    : JSON.stringify(text.slice(token.start, token.end).slice(0, 40));
}
