/** Permission bits and owner. */
export interface Ownership {
  /** Such as 0o644. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

export interface GuestFile extends Ownership {
  readonly kind: 'file';
  /** One character a byte (latin1); `undefined` if it was not read. */
  readonly text: string | undefined;
}

export interface GuestLink {
  readonly kind: 'link';
  /** As written; may be relative. */
  readonly target: string;
}

export type GuestNode = GuestFile | GuestLink | ({ readonly kind: 'folder' | 'other' } & Ownership);

/** What was looked at of a guest's files, by absolute path. */
export type GuestTree = ReadonlyMap<string, GuestNode>;

/** One change of a guest's files. Folders on the way are made. */
export type GuestEdit =
  | ({ readonly kind: 'write'; readonly path: string; readonly text: string } & Ownership)
  | { readonly kind: 'link'; readonly path: string; readonly target: string }
  /** Made, if it is not there. */
  | ({ readonly kind: 'folder'; readonly path: string } & Ownership)
  | { readonly kind: 'remove'; readonly path: string };

const OWN_FILE: Ownership = { mode: 0o644, uid: 0, gid: 0 };

/**
 * The folders to list; with each one that is written to, all that lead to it: debugfs makes a second folder of a name that is
 * there. Their files are not read, but for those of {@link wantsText}.
 */
export const GUEST_FOLDERS: readonly string[] = [
  '/',
  '/etc',
  '/etc/network',
  '/etc/network/interfaces.d',
  '/etc/netplan',
  '/etc/systemd',
  '/etc/systemd/network',
  '/etc/systemd/system',
  '/etc/systemd/system/multi-user.target.wants',
  '/etc/systemd/system/sockets.target.wants',
  '/etc/NetworkManager/system-connections',
  '/etc/udev/rules.d',
  '/etc/cloud',
  '/etc/cloud/cloud.cfg.d',
  '/etc/ssh',
  '/etc/dropbear',
  '/root',
  '/root/.ssh',
  '/sbin',
  '/usr/sbin',
  '/usr/lib',
  '/lib/netplan',
  '/usr/libexec/netplan',
  '/var',
  '/var/lib',
  '/var/lib/dbus',
];

const TEXTS: readonly RegExp[] = [
  /^\/etc\/(network\/interfaces|resolv\.conf|hostname|hosts|fstab|shadow|os-release|machine-id)$/,
  /^\/usr\/lib\/os-release$/,
  /^\/etc\/network\/interfaces\.d\/[^/]+$/,
  /^\/(etc|lib)\/netplan\/[^/]+\.yaml$/,
  /^\/etc\/systemd\/system\/systemd-networkd\.service$/,
  /^\/etc\/systemd\/network\/[^/]+\.(network|link|netdev)$/,
  /^\/etc\/udev\/rules\.d\/70-persistent-net\.rules$/,
  /^\/etc\/cloud\/(cloud\.cfg|cloud\.cfg\.d\/[^/]+\.cfg)$/,
  /^\/etc\/ssh\/ssh_host_[a-z0-9]+_key(\.pub)?$/,
  /^\/root\/\.ssh\/[^/]+$/,
];

/** Whether the content of a file is needed. */
export function wantsText(path: string): boolean {
  return TEXTS.some((pattern) => pattern.test(path));
}

/** The text of a file; `undefined` if it is missing, no file, or was not read. */
export function textOf(tree: GuestTree, path: string): string | undefined {
  const node = tree.get(path);
  return node?.kind === 'file' ? node.text : undefined;
}

/** The paths in a folder, sorted. */
export function pathsIn(tree: GuestTree, folder: string): readonly string[] {
  const prefix = folder.endsWith('/') ? folder : `${folder}/`;
  return [...tree.keys()].filter((path) => path.startsWith(prefix) && !path.slice(prefix.length).includes('/')).sort();
}

/** Nothing to do if the file is so already; a file that is replaced keeps mode and owner, another one gets `fresh`. */
export function planText(tree: GuestTree, path: string, text: string, fresh = OWN_FILE): readonly GuestEdit[] {
  const node = tree.get(path);
  if (node?.kind !== 'file') return [{ kind: 'write', path, text, ...fresh }];
  const { mode, uid, gid } = node;
  return node.text === text ? [] : [{ kind: 'write', path, text, mode, uid, gid }];
}
