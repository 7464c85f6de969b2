import { formatSshPublicKey, parseSshPublicKey } from '../../../shared/domain/ssh-public-key.js';
import { type GuestEdit, type GuestTree, textOf } from './guest-tree.js';

const FOLDER = '/root/.ssh';
const FILE = '/root/.ssh/authorized_keys';

export interface KeysPlan {
  readonly edits: readonly GuestEdit[];
  /** For people. */
  readonly warnings: readonly string[];
}

/**
 * The edits that let the owners of these keys log in as root. What is in the file stays; a key that it has is not added, even
 * if it has options there. sshd reads no file that others could write, so owner and mode are made right, too.
 *
 * @throws {AppError} `invalid` if one is no public key
 */
export function planAuthorizedKeys(tree: GuestTree, keys: readonly string[]): KeysPlan {
  const wanted = keys.map(parseSshPublicKey);
  if (wanted.length === 0) return { edits: [], warnings: [] };
  const link = [FOLDER, FILE].find((path) => tree.get(path)?.kind === 'link');
  if (link !== undefined) return { edits: [], warnings: [`${link} is a link: your ssh keys were not put there`] };
  const text = textOf(tree, FILE) ?? '';
  const known = blobsIn(text);
  const lines: string[] = [];
  for (const key of wanted) {
    if (known.has(key.blob)) continue;
    known.add(key.blob);
    lines.push(`${formatSshPublicKey(key)}\n`);
  }
  const start = text === '' || text.endsWith('\n') ? text : `${text}\n`;
  return {
    edits: [...planFolder(tree), ...planFile(tree, lines.length === 0 ? text : start + lines.join(''))],
    warnings: [],
  };
}

function blobsIn(text: string): Set<string> {
  const lines = text.split('\n').filter((line) => !line.trimStart().startsWith('#'));
  return new Set(lines.flatMap((line) => line.trim().split(/\s+/)));
}

function planFolder(tree: GuestTree): readonly GuestEdit[] {
  const node = tree.get(FOLDER);
  const isRight = node?.kind === 'folder' && node.uid === 0 && (node.mode & 0o77) === 0;
  return isRight ? [] : [{ kind: 'folder', path: FOLDER, mode: 0o700, uid: 0, gid: 0 }];
}

function planFile(tree: GuestTree, text: string): readonly GuestEdit[] {
  const node = tree.get(FILE);
  const isRight = node?.kind === 'file' && node.uid === 0 && (node.mode & 0o7177) === 0 && node.text === text;
  return isRight ? [] : [{ kind: 'write', path: FILE, text, mode: 0o600, uid: 0, gid: 0 }];
}
