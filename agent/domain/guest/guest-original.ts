import { wrongState } from '../../../shared/errors.js';
import type { GuestEdit, GuestNode, GuestTree, Ownership } from './guest-tree.js';

type Original =
  /** There was no such file. */
  | { readonly kind: 'none' }
  | ({ readonly kind: 'file'; readonly text: string } & Ownership)
  | { readonly kind: 'link'; readonly target: string }
  /** Not kept: it was no file, or one that is not read. */
  | { readonly kind: 'unread' };

/** What a guest's files were before they were changed first, by path. */
export type Originals = Readonly<Record<string, Original>>;

/** What the edits are about to change. */
export function originalsOf(edits: readonly GuestEdit[], tree: GuestTree): Originals {
  // Folders that were made stay.
  const files = edits.filter(({ kind }) => kind !== 'folder');
  return Object.fromEntries(files.map(({ path }) => [path, originalOf(tree.get(path))]));
}

function originalOf(node: GuestNode | undefined): Original {
  if (node === undefined) return { kind: 'none' };
  if (node.kind === 'link') return { kind: 'link', target: node.target };
  if (node.kind !== 'file' || node.text === undefined) return { kind: 'unread' };
  const { text, mode, uid, gid } = node;
  return { kind: 'file', text, mode, uid, gid };
}

/**
 * The edits that make the files what they were. Folders that were made on the way stay.
 *
 * @throws {AppError} `wrong_state` if one of them was not kept
 */
export function planRestore(tree: GuestTree, originals: Originals): readonly GuestEdit[] {
  return Object.entries(originals).flatMap(([path, original]): readonly GuestEdit[] => {
    const now = originalOf(tree.get(path));
    if (JSON.stringify(now) === JSON.stringify(original)) return [];
    switch (original.kind) {
      case 'none':
        return [{ kind: 'remove', path }];
      case 'file':
        return [{ ...original, kind: 'write', path }];
      case 'link':
        return [{ kind: 'link', path, target: original.target }];
      case 'unread':
        throw wrongState(`${path} was not kept: it cannot be put back`, {
          path,
          hint: 'it was no plain file, or a very large one: put it right inside the guest',
        });
    }
  });
}
