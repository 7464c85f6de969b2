/** A piece of the text. Offsets count from 0, `end` is exclusive. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

export type Quote = "'" | '"';

/** A quoted string or a bare number; xl keeps both as strings until somebody asks for a number. */
export interface Atom extends Span {
  readonly kind: 'atom';
  /** `undefined` for a bare number. */
  readonly quote: Quote | undefined;
  /** As xl reads it: without quotes, escapes undone. */
  readonly value: string;
}

export interface List extends Span {
  readonly kind: 'list';
  readonly items: readonly Value[];
}

export type Value = Atom | List;

/** From the first byte of the key to the last of the value. */
export interface Assignment extends Span {
  readonly key: string;
  readonly operator: '=' | '+=';
  readonly value: Value;
}

/** A parsed configuration. `text` is the whole truth; `assignments` point into it, in file order. */
export interface XlCfg {
  /** One character per byte of the file (latin1). */
  readonly text: string;
  readonly assignments: readonly Assignment[];
}
