import type { NicOptions } from './guest-plan.js';
import { type GuestTree, textOf } from './guest-tree.js';

/** Names of real NICs: no loopback, alias (`eth0:1`), VLAN (`eth0.5`), bridge or bond. */
const NIC = /^(eth\d+|en[A-Za-z0-9]+)$/;

/**
 * What the guest calls its NICs, by vif index: the names that its files use already, else those that its kernel and udev
 * give.
 *
 * @param used in the order of the guest's files
 */
export function chooseNicNames(
  used: readonly string[],
  tree: GuestTree,
  options: NicOptions,
): ReadonlyMap<number, string> {
  const nics = used.filter((name) => NIC.test(name));
  const prefix = ['eth', 'enX'].find((each) => nics.some((name) => new RegExp(`^${each}\\d+$`).test(name)));
  const indices = Array.from({ length: options.vifCount }, (_, n) => n);
  if (prefix !== undefined) return new Map(indices.map((n) => [n, `${prefix}${n}`]));
  const others = [...nics].sort((a, b) => a.localeCompare(b, 'en', { numeric: true }));
  if (others.length === options.vifCount) return new Map(others.map((name, n) => [n, name]));
  const fresh = hasXenNames(tree, options) ? 'enX' : 'eth';
  return new Map(indices.map((n) => [n, `${fresh}${n}`]));
}

/** systemd names Xen's NICs enX0 from version 253 on, unless the kernel is told otherwise. */
function hasXenNames(tree: GuestTree, { kernelLine }: NicOptions): boolean {
  if (/\bnet\.ifnames=0\b/.test(kernelLine)) return false;
  const release = textOf(tree, '/etc/os-release') ?? textOf(tree, '/usr/lib/os-release') ?? '';
  const id = /^ID="?([a-z]+)/m.exec(release)?.[1];
  const version = Number(/^VERSION_ID="?(\d+(?:\.\d+)?)/m.exec(release)?.[1] ?? NaN);
  return (id === 'debian' && version >= 13) || (id === 'ubuntu' && version >= 23.1);
}
