// What debugfs and e2undo of e2fsprogs (1.43 to 1.47) read and print. One character a byte (latin1).
import { invalid } from '../../../shared/errors.js';
import type { GuestEdit, GuestTree, Ownership } from './guest-tree.js';

export interface ListedEntry extends Ownership {
  /** Absolute. */
  readonly path: string;
  readonly kind: 'file' | 'link' | 'folder' | 'other';
  readonly sizeBytes: number;
}

const KINDS: Readonly<Record<string, ListedEntry['kind']>> = { '04': 'folder', '10': 'file', '12': 'link' };

/** The dot makes debugfs follow a folder that is a link. */
export function listCommand(folder: string): string {
  return `ls -p ${quoted(folder === '/' ? '/.' : `${folder}/.`)}`;
}

/**
 * What several {@link listCommand} printed; a folder that is not there has nothing. Names that debugfs could not be given
 * back (a quote, a control character) are left out.
 */
export function parseListings(stdout: string): readonly ListedEntry[] {
  const entries: ListedEntry[] = [];
  let folder = '';
  for (const line of stdout.split('\n')) {
    const command = /^debugfs: ls -p "(.*)\/\."$/.exec(line);
    if (command !== null) folder = command[1] ?? '';
    const [, type = '', mode = '', uid, gid, name = '', size] =
      /^\/\d+\/(\d\d)(\d{4})\/(\d+)\/(\d+)\/([^/]+)\/(\d*)\/$/.exec(line) ?? [];
    if (name === '' || name === '.' || name === '..' || !isSafe(name)) continue;
    const owner = { mode: Number.parseInt(mode, 8), uid: Number(uid), gid: Number(gid) };
    entries.push({ path: `${folder}/${name}`, kind: KINDS[type] ?? 'other', sizeBytes: Number(size), ...owner });
  }
  return entries;
}

/** @param to a path of this host */
export function dumpCommand(path: string, to: string): string {
  return `dump ${quoted(path)} ${quoted(to)}`;
}

export function statCommand(path: string): string {
  return `stat ${quoted(path)}`;
}

/** The targets of links by path, as several {@link statCommand} printed them; of short ones, as all links here are. */
export function parseLinkTargets(stdout: string): ReadonlyMap<string, string> {
  const targets = new Map<string, string>();
  let path = '';
  for (const line of stdout.split('\n')) {
    path = /^debugfs: stat "(.*)"$/.exec(line)?.[1] ?? path;
    const target = /^Fast link dest: "(.*)"$/.exec(line)?.[1];
    if (target !== undefined) targets.set(path, target);
  }
  return targets;
}

/** @param sources the paths of this host with the text of each `write`, in the order of the edits */
export function editCommands(
  edits: readonly GuestEdit[],
  tree: GuestTree,
  sources: readonly string[],
): readonly string[] {
  const there = new Set(tree.keys());
  return edits.flatMap((edit, n) => {
    if (edit.kind === 'folder') return folderCommands(edit, there);
    const remove = there.delete(edit.path) ? [`rm ${quoted(edit.path)}`] : [];
    if (edit.kind === 'remove') return remove;
    const folders = missingFolders(edit.path, there);
    for (const path of [...folders, edit.path]) there.add(path);
    const path = quoted(edit.path);
    const makeFolders = folders.map((folder) => `mkdir ${quoted(folder)}`);
    if (edit.kind === 'link') return [...makeFolders, ...remove, `symlink ${path} ${quoted(edit.target)}`];
    return [
      ...makeFolders,
      ...remove,
      `write ${quoted(sources[n] ?? '')} ${path}`,
      ...ownershipCommands(path, '010', edit),
    ];
  });
}

function folderCommands(edit: Ownership & { readonly path: string }, there: Set<string>): readonly string[] {
  const missing = [...missingFolders(edit.path, there), ...(there.has(edit.path) ? [] : [edit.path])];
  for (const path of missing) there.add(path);
  return [...missing.map((path) => `mkdir ${quoted(path)}`), ...ownershipCommands(quoted(edit.path), '04', edit)];
}

/** @param type octal, as st_mode has it before the permissions */
function ownershipCommands(path: string, type: string, { mode, uid, gid }: Ownership): readonly string[] {
  return [
    `set_inode_field ${path} mode ${type}${mode.toString(8).padStart(4, '0')}`,
    `set_inode_field ${path} uid ${uid}`,
    `set_inode_field ${path} gid ${gid}`,
  ];
}

/** A piece of a file system, in blocks of the undo file's own size. */
export interface BlockRange {
  readonly block: number;
  readonly sizeBytes: number;
}

/** What `e2undo -n -v` would write back. */
export function parseUndoRanges(output: string): readonly BlockRange[] {
  const lines = output.matchAll(/^Replayed block of size (\d+) from \d+ to (\d+)$/gm);
  return [...lines].map(([, size, block]) => ({ block: Number(block), sizeBytes: Number(size) }));
}

function missingFolders(path: string, there: ReadonlySet<string>): readonly string[] {
  const names = path.split('/').slice(1, -1);
  const folders = names.map((_, n) => `/${names.slice(0, n + 1).join('/')}`);
  return folders.filter((folder) => !there.has(folder));
}

function isSafe(text: string): boolean {
  return !/["\x00-\x1f\x7f]/.test(text);
}

function quoted(text: string): string {
  if (!isSafe(text)) throw invalid(`The path "${text}" has characters that debugfs cannot be given`, { path: text });
  return `"${text}"`;
}
