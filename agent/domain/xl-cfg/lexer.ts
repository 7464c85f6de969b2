// Invariants:
// - The rules are those of Xen's tools/libs/util/libxlu_cfg_l.l: what it reads, we read, and the other way round.
// - Blanks are space and tab only. A carriage return is an illegal character, save inside a comment or a string.
// - A comment must end in a newline: on a last line without one, xl calls it a lexical error. A bare `#` as the very last
//   byte passes, as it does with xl. (xl lets any one illegal byte pass there; we do not, a line put after it would break.)
import type { Span } from './syntax.js';

export type TokenKind =
  'word' | 'number' | 'string' | 'newline' | '[' | ']' | ',' | ';' | '=' | '+=' | 'illegal' | 'end';

export interface Token extends Span {
  readonly kind: TokenKind;
}

const BLANKS = /[ \t]*/y;

const RULES: readonly (readonly [TokenKind, RegExp])[] = [
  ['word', /[a-z][._0-9a-z]*/y],
  ['number', /[0-9][0-9a-fx]*/y],
  ['newline', /\n|#[^\n]*\n|#$/y],
  ['string', /'[^'\\\n]*(?:\\[^\n][^'\\\n]*)*'|"[^"\\\n]*(?:\\[^\n][^"\\\n]*)*"/y],
  ['[', /\[/y],
  [']', /\]/y],
  [',', /,/y],
  [';', /;/y],
  ['=', /=/y],
  ['+=', /\+=/y],
  ['illegal', /[^ \t\n]+/y],
];

/** Splits the whole text, illegal parts included; the last token is `end`, and empty. Never throws. */
export function tokenize(text: string): readonly Token[] {
  const tokens: Token[] = [];
  let offset = 0;
  for (;;) {
    offset = endOfMatch(BLANKS, text, offset) ?? offset;
    const token = tokenAt(text, offset);
    tokens.push(token);
    if (token.kind === 'end') return tokens;
    offset = token.end;
  }
}

function tokenAt(text: string, start: number): Token {
  for (const [kind, rule] of RULES) {
    const end = endOfMatch(rule, text, start);
    if (end !== undefined) return { kind, start, end };
  }
  return { kind: 'end', start, end: start };
}

function endOfMatch(rule: RegExp, text: string, start: number): number | undefined {
  rule.lastIndex = start;
  return rule.test(text) ? rule.lastIndex : undefined;
}
