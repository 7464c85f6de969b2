/** One line of the table. */
export interface Row {
  readonly what: string;
  /** With its unit. */
  readonly value: string;
  /** The same run's measure that it stands beside. */
  readonly anchor: string;
  /** What it should be; "" where there is no goal. */
  readonly goal: string;
}

export function formatRows(rows: readonly Row[]): string {
  const header = { what: 'WHAT', value: 'MEASURED', anchor: 'BESIDE', goal: 'GOAL' };
  const columns = ['what', 'value', 'anchor', 'goal'] as const;
  const widths = columns.map((column) => Math.max(...[header, ...rows].map((row) => row[column].length)));
  return [header, ...rows]
    .map((row) =>
      columns
        .map((column, n) => row[column].padEnd(widths[n] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

export function rate(count: number, milliseconds: number): string {
  return `${Math.round((count * 1_000) / milliseconds).toLocaleString('en')}/s`;
}

export function times(value: number, anchor: number): string {
  return `${(value / anchor).toFixed(2)}x`;
}
