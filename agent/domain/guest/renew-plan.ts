import { planAuthorizedKeys } from './authorized-keys.js';
import { type GuestEdit, type GuestTree, pathsIn, planText, textOf } from './guest-tree.js';

/** The kinds of ssh host keys, as OpenSSH names their files. */
export const HOST_KEY_TYPES = ['rsa', 'ecdsa', 'ed25519'] as const;
export type HostKeyType = (typeof HOST_KEY_TYPES)[number];

export interface HostKey {
  /** OpenSSH's private and public form, each a text of lines. */
  readonly privateText: string;
  readonly publicText: string;
}

/** What a copy has that its source has not. */
export interface RenewSettings {
  /** Of those who may log in as root, each as in an authorized_keys file, without options. */
  readonly authorizedKeys?: readonly string[] | undefined;
  /** Such as "/dev/xvda3": swap space that the guest's fstab is to have. */
  readonly swapDevice?: string | undefined;
  /** For cloud-init, in the place of the source's. */
  readonly userData?: string | undefined;
}

export interface RenewPlan {
  readonly edits: readonly GuestEdit[];
  /** For people: what the copy shares with its source all the same. */
  readonly warnings: readonly string[];
}

const MACHINE_ID = '/etc/machine-id';
const DBUS_ID = '/var/lib/dbus/machine-id';
const SSHD = '/usr/sbin/sshd';
const FSTAB = '/etc/fstab';
const CLOUD_KEYS = '/etc/cloud/cloud.cfg.d/98-domherd-keys.cfg';

/** Which keys a guest has, and a copy of it needs anew; of one that would make some at its first boot, those. */
export function hostKeyTypes(tree: GuestTree): readonly HostKeyType[] {
  const present = HOST_KEY_TYPES.filter((type) => tree.get(keyPath(type))?.kind === 'file');
  if (present.length > 0 || tree.get(SSHD)?.kind !== 'file' || tree.get('/etc/ssh')?.kind !== 'folder') return present;
  return ['ecdsa', 'ed25519'];
}

/**
 * The edits that make of a copy a machine of its own: ssh host keys, and no machine id, so that the next boot makes one
 * (machine-id(5)); with its users' keys and swap space.
 *
 * @throws {AppError} `invalid` if a key of a user is none
 */
export function planRenewal(
  tree: GuestTree,
  keys: ReadonlyMap<HostKeyType, HostKey>,
  settings: RenewSettings = {},
): RenewPlan {
  const texts = [...keys].flatMap(([type, { privateText, publicText }]) => [
    ...planText(tree, keyPath(type), privateText, { mode: 0o600, uid: 0, gid: 0 }),
    ...planText(tree, `${keyPath(type)}.pub`, publicText),
  ]);
  const machineId = tree.get(MACHINE_ID)?.kind === 'file' ? planText(tree, MACHINE_ID, '') : [];
  const dbusId: readonly GuestEdit[] = tree.get(DBUS_ID)?.kind === 'file' ? [{ kind: 'remove', path: DBUS_ID }] : [];
  const users = planAuthorizedKeys(tree, settings.authorizedKeys ?? []);
  return {
    edits: [
      ...texts,
      ...planCloudKeys(tree, keys),
      ...machineId,
      ...dbusId,
      ...users.edits,
      ...planSwap(tree, settings),
    ],
    warnings: [...otherKeys(tree), ...users.warnings],
  };
}

/** cloud-init takes a copy for a new machine, and would make its keys anew once more. */
function planCloudKeys(tree: GuestTree, keys: ReadonlyMap<HostKeyType, HostKey>): readonly GuestEdit[] {
  if (keys.size === 0 || !tree.has('/etc/cloud/cloud.cfg')) return [];
  return planText(
    tree,
    CLOUD_KEYS,
    "# Written by domherd: the host keys are this machine's own already.\nssh_deletekeys: false\n",
  );
}

function planSwap(tree: GuestTree, { swapDevice }: RenewSettings): readonly GuestEdit[] {
  if (swapDevice === undefined) return [];
  const text = textOf(tree, FSTAB) ?? '';
  const isThere = text.split('\n').some((line) => line.trim().split(/\s+/)[0] === swapDevice);
  if (isThere) return [];
  const start = text === '' || text.endsWith('\n') ? text : `${text}\n`;
  return planText(tree, FSTAB, `${start}${swapDevice} none swap sw 0 0\n`);
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
