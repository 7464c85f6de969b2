import type { SqlValue } from './connection.js';

/** The WHERE of a filter in which any field may be missing. Column names are the program's own, values are parameters. */
export class Where {
  readonly params: SqlValue[] = [];
  private readonly conditions: string[] = [];

  /** `undefined`: any. */
  equals(column: string, value: string | number | undefined): this {
    return value === undefined ? this : this.add(`${column} = ?`, value);
  }

  /** Exclusive; `undefined`: any. */
  above(column: string, value: number | undefined): this {
    return value === undefined ? this : this.add(`${column} > ?`, value);
  }

  /** Empty: any. */
  oneOf(column: string, values: readonly string[]): this {
    if (values.length === 0) return this;
    return this.add(`${column} IN (${values.map(() => '?').join(', ')})`, ...values);
  }

  /** As oneOf, for lists of any length: their statement is one. */
  anyOf(column: string, values: readonly (string | number)[] = []): this {
    if (values.length === 0) return this;
    return this.add(`${column} IN (SELECT value FROM json_each(?))`, JSON.stringify(values));
  }

  add(condition: string, ...params: SqlValue[]): this {
    this.conditions.push(condition);
    this.params.push(...params);
    return this;
  }

  /** Empty when everything is asked for. */
  clause(): string {
    return this.conditions.length === 0 ? '' : `WHERE ${this.conditions.join(' AND ')}`;
  }
}
