import stringWidth from 'string-width';
import { printable } from '../../shared/domain/printable.js';
import { invalid, type AppError } from '../../shared/errors.js';
import { isTable } from './format.js';
import type { Invocation } from './invocation.js';
import { paint, wantsColour, type Colour } from './terminal-text.js';

export interface Column<Row> {
  readonly title: string;
  readonly text: (row: Row) => string;
  readonly colour?: (row: Row) => Colour | undefined;
}

/** How rows of one kind look in each format; pure. A format that the verb does not offer needs no function. */
export interface View<Row> {
  readonly columns: readonly Column<Row>[];
  /** All columns of `-o wide`; as `columns` where there is no more to tell. */
  readonly wide?: readonly Column<Row>[];
  /** Plain data, camelCase, times in ISO 8601: docs/cli.md is its reference. */
  readonly json: (row: Row) => unknown;
  readonly name?: (row: Row) => string;
  readonly addresses?: (row: Row) => readonly string[];
}

const GAP = '  ';

/** For `wide`: the last column, which is as long as it likes, stays the last. */
export function withMore<Row>(columns: readonly Column<Row>[], more: readonly Column<Row>[]): readonly Column<Row>[] {
  return [...columns.slice(0, -1), ...more, ...columns.slice(-1)];
}

/** Prints rows to stdout in the format that was asked for. */
export function printRows<Row>(call: Invocation, rows: readonly Row[], view: View<Row>): void {
  const { stdout, env } = call.world;
  stdout.write(formatRows(call, rows, view, wantsColour(stdout, env)));
}

function formatRows<Row>(call: Invocation, rows: readonly Row[], view: View<Row>, isColoured: boolean): string {
  switch (call.format) {
    case 'json':
    case 'yaml':
      return call.writeData(rows.map(view.json));
    case 'name':
      return lines(rows.map(required(view.name)));
    case 'ips':
      return lines(rows.flatMap(required(view.addresses)));
    case 'table':
      return formatTable(rows, view.columns, call.global.headers, isColoured);
    case 'wide':
      return formatTable(rows, view.wide ?? view.columns, call.global.headers, isColoured);
    default:
      throw noSuchFormat();
  }
}

function required<Act>(act: Act | undefined): Act {
  if (act === undefined) throw noSuchFormat();
  return act;
}

function noSuchFormat(): AppError {
  return invalid('This output format makes no sense here', { hint: 'use -o table or -o json' });
}

function lines(texts: readonly string[]): string {
  return texts.map((text) => `${printable(text)}\n`).join('');
}

/** Columns two blanks apart, as kubectl prints them; nothing at all for no rows without headers. */
export function formatTable<Row>(
  rows: readonly Row[],
  columns: readonly Column<Row>[],
  hasHeaders: boolean,
  isColoured: boolean,
): string {
  const header = hasHeaders ? [columns.map(({ title }) => title)] : [];
  const table = [
    ...header.map((titles) => titles.map(plainCell)),
    ...rows.map((row) => rowCells(row, columns, isColoured)),
  ];
  const widths = columns.map((_, n) => table.reduce((width, line) => Math.max(width, line[n]?.width ?? 0), 0));
  return table.map((line) => `${alignLine(line, widths)}\n`).join('');
}

interface Cell {
  readonly text: string;
  /** Terminal columns that it takes; colours take none. */
  readonly width: number;
}

function rowCells<Row>(row: Row, columns: readonly Column<Row>[], isColoured: boolean): Cell[] {
  return columns.map((column) => {
    const plain = plainCell(printable(column.text(row)));
    return isColoured ? { ...plain, text: paint(plain.text, column.colour?.(row)) } : plain;
  });
}

const ASCII = /^[\x20-\x7e]*$/;

/** Nearly every text is ASCII; string-width looks at each grapheme, which costs a second for 10,000 rows. */
function plainCell(text: string): Cell {
  return { text, width: ASCII.test(text) ? text.length : stringWidth(text) };
}

function alignLine(line: readonly Cell[], widths: readonly number[]): string {
  return line
    .map(({ text, width }, n) => text + ' '.repeat(Math.max(0, (widths[n] ?? 0) - width)))
    .join(GAP)
    .trimEnd();
}

/** One thing, every field on a line of its own; other formats as a list of one. */
export function printOne<Row>(call: Invocation, row: Row, view: View<Row>, fields: readonly Column<Row>[]): void {
  if (!isTable(call.format)) {
    printRows(call, [row], view);
    return;
  }
  const { stdout, env } = call.world;
  const pairs = fields.map((field) => ({ field, text: field.text(row) })).filter(({ text }) => text !== '');
  const columns: Column<(typeof pairs)[number]>[] = [
    { title: '', text: ({ field }) => field.title },
    { title: '', text: ({ text }) => text, colour: ({ field }) => field.colour?.(row) },
  ];
  stdout.write(formatTable(pairs, columns, false, wantsColour(stdout, env)));
}

/** A line for the person, never for the program: stderr. */
export function tell(call: Invocation, text: string): void {
  call.world.stderr.write(`${printable(text)}\n`);
}
