import { type GuestEdit, type GuestTree, pathsIn, planText } from './guest-tree.js';

/** The kinds of ssh host keys, as OpenSSH names their files. */
export const HOST_KEY_TYPES = ['rsa', 'ecdsa', 'ed25519'] as const;
export type HostKeyType = (typeof HOST_KEY_TYPES)[number];

export interface HostKey {
  /** OpenSSH's private and public form, each a text of lines. */
  readonly privateText: string;
  readonly publicText: string;
}

export interface RenewPlan {
  readonly edits: readonly GuestEdit[];
  /** For people: what the copy shares with its source all the same. */
  readonly warnings: readonly string[];
}

const MACHINE_ID = '/etc/machine-id';
const DBUS_ID = '/var/lib/dbus/machine-id';

/** Which keys a guest has, and a copy of it needs anew. */
export function hostKeyTypes(tree: GuestTree): readonly HostKeyType[] {
  return HOST_KEY_TYPES.filter((type) => tree.get(keyPath(type))?.kind === 'file');
}

/**
 * The edits that make of a copy a machine of its own: ssh host keys, and no machine id, so that the next boot makes one
 * (machine-id(5)).
 */
export function planRenewal(tree: GuestTree, keys: ReadonlyMap<HostKeyType, HostKey>): RenewPlan {
  const texts = [...keys].flatMap(([type, { privateText, publicText }]) => [
    ...planText(tree, keyPath(type), privateText, { mode: 0o600, uid: 0, gid: 0 }),
    ...planText(tree, `${keyPath(type)}.pub`, publicText),
  ]);
  const machineId = tree.get(MACHINE_ID)?.kind === 'file' ? planText(tree, MACHINE_ID, '') : [];
  const dbusId: readonly GuestEdit[] = tree.get(DBUS_ID)?.kind === 'file' ? [{ kind: 'remove', path: DBUS_ID }] : [];
  return { edits: [...texts, ...machineId, ...dbusId], warnings: otherKeys(tree) };
}

/** Keys of a kind that nobody here makes. */
function otherKeys(tree: GuestTree): readonly string[] {
  const known = new Set(HOST_KEY_TYPES.map(keyPath));
  const ssh = pathsIn(tree, '/etc/ssh').filter((path) => /\/ssh_host_[^/.]+_key$/.test(path) && !known.has(path));
  const dropbear = pathsIn(tree, '/etc/dropbear').filter((path) => path.endsWith('_host_key'));
  return [...ssh, ...dropbear].map((path) => `${path} is the source's too: make a new one in the guest`);
}

function keyPath(type: HostKeyType): string {
  return `/etc/ssh/ssh_host_${type}_key`;
}
