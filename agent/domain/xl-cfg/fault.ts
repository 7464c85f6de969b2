import { type AppError, invalid } from '../../../shared/errors.js';

/** Line and column of a byte; both count from 1, columns in bytes. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

/** Makes the error that refuses a text because of what stands at `offset` (from 0) in it. */
export type Refuse = (offset: number, reason: string, hint: string) => AppError;

/** @param offset 0 to the length of the text, both included */
export function positionAt(text: string, offset: number): Position {
  const before = text.slice(0, offset);
  return { line: before.split('\n').length, column: offset - before.lastIndexOf('\n') };
}

/** An `invalid` error whose details are `line`, `column`, `reason` and `hint`. */
export function refuseAt(text: string, offset: number, reason: string, hint: string): AppError {
  const { line, column } = positionAt(text, offset);
  const message = `The configuration is refused at line ${line}, column ${column}: ${reason}`;
  return invalid(message, { line: `${line}`, column: `${column}`, reason, hint });
}

/** For a spec that is looked at on its own: its line is 1. */
export function refuseIn(text: string): Refuse {
  return (offset, reason, hint) => refuseAt(text, offset, reason, hint);
}
