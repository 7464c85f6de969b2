import { invalid } from '../../shared/errors.js';

/** `wide` is a table with more columns, `name` one name a line, `ips` one address a line. */
export type RowFormat = 'table' | 'wide' | 'json' | 'yaml' | 'name' | 'ips';
/** What other programs read. */
export type ExportFormat = 'ansible' | 'hosts' | 'nodeset' | 'dnsmasq';
export type OutputFormat = RowFormat | ExportFormat;

/** For commands whose rows are neither names nor addresses. */
export const PLAIN: readonly OutputFormat[] = ['table', 'wide', 'json', 'yaml'];
/** For commands that print rows with names but no addresses. */
export const NAMED: readonly OutputFormat[] = [...PLAIN, 'name'];
/** For commands whose rows have names and addresses. */
export const ADDRESSED: readonly OutputFormat[] = [...NAMED, 'ips'];
/** For the list of VMs. */
export const EXPORTED: readonly OutputFormat[] = [...ADDRESSED, 'ansible', 'hosts', 'nodeset', 'dnsmasq'];

/** For people; what stands beside the rows, such as hints, is told only with these. */
export function isTable(format: OutputFormat): boolean {
  return format === 'table' || format === 'wide';
}

/** What a program reads: every field, by name. */
export function isData(format: OutputFormat): boolean {
  return format === 'json' || format === 'yaml';
}

/**
 * How data is written in that format. YAML's writer is large, and loaded only when it is wanted.
 */
export async function dataWriter(format: OutputFormat): Promise<(data: unknown) => string> {
  if (format !== 'yaml') return (data) => `${JSON.stringify(data, null, 2)}\n`;
  const { stringify } = await import('yaml');
  // Anchors would stand for what is said twice: a reader of one entry would have to look for another.
  return (data) => stringify(data, { aliasDuplicateObjects: false, lineWidth: 0 });
}

/**
 * @param text what the user gave to `-o`; `undefined` means the first of `formats`
 * @throws {AppError} `invalid`, listing the formats of this command
 */
export function parseFormat(text: string | undefined, formats: readonly OutputFormat[], command: string): OutputFormat {
  const format = text === undefined ? (formats[0] ?? 'table') : formats.find((known) => known === text);
  if (format !== undefined) return format;
  throw invalid(`output format "${String(text)}" makes no sense for "${command}"`, {
    hint: formats.length === 0 ? 'leave -o out' : `this command has: -o ${formats.join(', -o ')}`,
  });
}
