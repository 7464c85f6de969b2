import { invalid } from '../../shared/errors.js';

/** `name` is one name a line, `ips` one address a line. */
export type RowFormat = 'table' | 'json' | 'name' | 'ips';
/** What other programs read. */
export type ExportFormat = 'ansible' | 'hosts' | 'nodeset' | 'dnsmasq';
export type OutputFormat = RowFormat | ExportFormat;

/** For commands that print rows with names but no addresses. */
export const NAMED: readonly OutputFormat[] = ['table', 'json', 'name'];
/** For commands whose rows have names and addresses. */
export const ADDRESSED: readonly OutputFormat[] = ['table', 'json', 'name', 'ips'];
/** For the list of VMs. */
export const EXPORTED: readonly OutputFormat[] = [...ADDRESSED, 'ansible', 'hosts', 'nodeset', 'dnsmasq'];
/** For commands whose rows are neither names nor addresses. */
export const PLAIN: readonly OutputFormat[] = ['table', 'json'];

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
