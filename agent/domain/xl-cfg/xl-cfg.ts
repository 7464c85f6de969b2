// The xl.cfg editor: reads what xl reads, changes one value, keeps every other byte.
//
//   syntax.ts          the types              lexer.ts, parser.ts, string-literal.ts   text -> XlCfg
//   xl-cfg.ts          parse, format, read    edit.ts    set or remove one key
//   vif-spec.ts        'mac=..,bridge=..'     vif.ts     the vifs of a file: list, set or remove one parameter
//   disk-spec.ts       'file:/a.img,xvda,w'   disk.ts    the disks of a file: list, set a target
//   fault.ts           refusals with line and column
//
// Invariants:
// - A text is bytes: one character each (latin1). The file adapter decodes and encodes; nothing here knows an encoding.
// - formatXlCfg(parseXlCfg(x)) === x. An edit is one splice of the text, parsed anew: an XlCfg always matches its text.
// - Values mean what they mean to xl (tools/libs/util/libxlu_cfg.c): of two assignments of a key the later wins, `+=` joins
//   to what stands before it, and a list ends for xl at its first item that is itself a list.
// - Never more permissive than xl: what parses here, parses there.
import { parseAssignments } from './parser.js';
import type { Assignment, Atom, XlCfg } from './syntax.js';

/**
 * @param text one character per byte (latin1)
 * @throws {AppError} `invalid` with details `line`, `column` (both from 1), `reason` and `hint` for what xl would refuse
 */
export function parseXlCfg(text: string): XlCfg {
  return { text, assignments: parseAssignments(text) };
}

/** The exact text that was parsed, or that the edits made of it. */
export function formatXlCfg(cfg: XlCfg): string {
  return cfg.text;
}

/** `undefined` if the key is missing or its value is a list: xl warns of that and takes its default. */
export function getString(cfg: XlCfg, key: string): string | undefined {
  const parts = effectiveParts(cfg, key);
  if (parts.length === 0) return undefined;
  const values = parts.map(({ value }) => (value.kind === 'atom' ? value.value : undefined));
  return values.includes(undefined) ? undefined : values.join('');
}

/**
 * An integer, bare or quoted, in decimal, octal (leading 0) or hexadecimal (0x), as xl reads it.
 *
 * @returns `undefined` where xl would take its default: a missing key, a list, no number, one made with `+=`; also for a
 *   number beyond 2**53 - 1
 */
export function getNumber(cfg: XlCfg, key: string): number | undefined {
  const text = getString(cfg, key);
  if (text === undefined || effectiveParts(cfg, key).at(-1)?.operator === '+=') return undefined;
  const match = /^[ \t\n\v\f\r]*([+-]?)(0x[\da-f]+|0[0-7]*|[1-9]\d*)$/i.exec(text);
  const digits = match?.[2];
  if (digits === undefined) return undefined;
  const size = /^0[0-7]/.test(digits) ? Number.parseInt(digits, 8) : Number(digits);
  if (!Number.isSafeInteger(size)) return undefined;
  return match?.[1] === '-' && size !== 0 ? -size : size;
}

/** `undefined` if the key is missing or its value is no list: xl warns of that and takes it as missing. */
export function getList(cfg: XlCfg, key: string): readonly string[] | undefined {
  return listAtoms(cfg, key)?.map((atom) => atom.value);
}

/** The items of a list in the order xl counts them, over `=` and `+=`, with their places in the text. */
export function listAtoms(cfg: XlCfg, key: string): readonly Atom[] | undefined {
  const parts = effectiveParts(cfg, key);
  if (parts.at(0)?.value.kind !== 'list') return undefined;
  const items = parts.flatMap(({ value }) => (value.kind === 'list' ? value.items : []));
  const firstList = items.findIndex((item) => item.kind === 'list');
  return items.slice(0, firstList < 0 ? undefined : firstList).filter((item) => item.kind === 'atom');
}

/** The name that the domain would get. xl refuses to create one without. */
export function cfgName(cfg: XlCfg): string | undefined {
  return getString(cfg, 'name');
}

/** The assignments that make up the present value of a key: the last `=` and every `+=` after it. Empty if there is none. */
export function effectiveParts(cfg: XlCfg, key: string): readonly Assignment[] {
  const all = cfg.assignments.filter((assignment) => assignment.key === key);
  const start = all.findLastIndex((assignment) => assignment.operator === '=');
  return all.slice(Math.max(start, 0));
}
