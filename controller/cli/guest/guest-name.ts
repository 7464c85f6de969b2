import type { Vm } from '../../../shared/gen/domherd/v1/vm.js';

/**
 * A name for each VM that ssh, Ansible, a hosts file and ClusterShell all take, by VM id: the VM's own where no other VM has
 * it, else NAME.HOST, and NAME.ID where even those are equal.
 *
 * @param all every VM of the fleet: a name must not depend on which of them are shown
 */
export function guestNames(all: readonly Vm[]): ReadonlyMap<number, string> {
  const own = all.map((vm) => ({ vm, name: labelOf(vm.name) }));
  const taken = countOf(own.map(({ name }) => name));
  const long = own.map(({ vm, name }) => ({ vm, name: taken.get(name) === 1 ? name : `${name}.${labelOf(vm.host)}` }));
  const takenLong = countOf(long.map(({ name }) => name));
  return new Map(
    long.map(({ vm, name }) => [vm.id, takenLong.get(name) === 1 ? name : `${labelOf(vm.name)}.${String(vm.id)}`]),
  );
}

/** xl takes nearly any character in a name; a host name has few (RFC 1123). */
function labelOf(name: string): string {
  const label = name.replaceAll(/[^A-Za-z0-9.-]+/g, '-').replaceAll(/^[.-]+|[.-]+$/g, '');
  return label === '' ? 'vm' : label;
}

function countOf(names: readonly string[]): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  return counts;
}

interface Numbered {
  readonly prefix: string;
  readonly digits: string;
  readonly suffix: string;
}

/** "web-1", "web-2", "db" as "db,web-[1-2]": what ClusterShell's nodeset prints and reads. */
export function foldNames(names: readonly string[]): string {
  const singles: string[] = [];
  const groups = new Map<string, Numbered[]>();
  for (const name of new Set(names)) {
    const { prefix, digits, suffix } = splitName(name);
    if (digits === '') singles.push(name);
    else {
      // 01 and 1 are two nodes: with leading zeros, the width is part of the name.
      const width = digits.startsWith('0') && digits.length > 1 ? String(digits.length) : '';
      const key = [prefix, suffix, width].join('\0');
      groups.set(key, [...(groups.get(key) ?? []), { prefix, digits, suffix }]);
    }
  }
  return [...singles, ...[...groups.values()].map(foldGroup)].sort().join(',');
}

/** The last number counts: "domU.dom0-1" is one of domU.dom0-[1-9]. */
function splitName(name: string): Numbered {
  const [, prefix = '', digits = '', suffix = ''] = /^(.*?)(\d{1,9})(\D*)$/.exec(name) ?? [];
  return { prefix, digits, suffix };
}

function foldGroup(group: readonly Numbered[]): string {
  const { prefix = '', suffix = '' } = group[0] ?? {};
  const sorted = [...group].sort((a, b) => Number(a.digits) - Number(b.digits));
  const ranges: { first: string; last: string }[] = [];
  for (const { digits } of sorted) {
    const range = ranges.at(-1);
    if (range !== undefined && Number(digits) === Number(range.last) + 1) range.last = digits;
    else ranges.push({ first: digits, last: digits });
  }
  if (sorted.length === 1) return `${prefix}${sorted[0]?.digits ?? ''}${suffix}`;
  const texts = ranges.map(({ first, last }) => (first === last ? first : `${first}-${last}`));
  return `${prefix}[${texts.join(',')}]${suffix}`;
}
