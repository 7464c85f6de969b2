import { invalid } from '../../../shared/errors.js';
import { parseHostName, type HostName } from '../../../shared/domain/name.js';

/**
 * Reads a list of nodes as OAR writes it to $OAR_NODE_FILE: one a line, repeated for every core. Comments (`#`) and blank
 * lines do not count.
 *
 * @param source what to call it in a fault
 * @throws {AppError} `invalid`, naming the line
 */
export function parseNodeList(text: string, source: string): readonly HostName[] {
  const names = text.split('\n').flatMap((line, n) => {
    const name = line.replace(/#.*/, '').trim();
    return name === '' ? [] : [parseLine(name, `${source}, line ${String(n + 1)}`)];
  });
  return uniqueNodes(names);
}

function parseLine(name: string, where: string): HostName {
  try {
    return parseHostName(name);
  } catch (error) {
    throw invalid(`${where}: "${name.slice(0, 80)}" is no node`, {
      hint: 'one host name a line is expected, as in $OAR_NODE_FILE',
      reason: error instanceof Error ? error.message : '',
    });
  }
}

/** Each once, in the order of their first appearance. */
export function uniqueNodes(names: readonly HostName[]): readonly HostName[] {
  return [...new Set(names)];
}
