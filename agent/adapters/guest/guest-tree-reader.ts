import { GUEST_FOLDERS, type GuestNode, type GuestTree, wantsText } from '../../domain/guest/guest-tree.js';
import type { ListedEntry } from '../../domain/guest/debugfs-text.js';
import type { E2fsTools, FsImage } from './e2fs-tools.js';

/** No configuration is as large. */
const MAX_BYTES = 256 * 1024;

/** Two commands, whatever the guest. @param work a folder that is empty but for what was read before */
export async function readGuestTree(
  tools: E2fsTools,
  image: FsImage,
  work: string,
  signal: AbortSignal,
): Promise<GuestTree> {
  const entries = await tools.list(image, GUEST_FOLDERS, work, signal);
  const files = entries.filter(
    ({ path, kind, sizeBytes }) => kind === 'file' && sizeBytes <= MAX_BYTES && wantsText(path),
  );
  const links = entries.filter(({ path, kind }) => kind === 'link' && wantsText(path));
  const paths = files.map(({ path }) => path);
  const texts = await tools.readFiles(image, paths, work, signal);
  const textOf = new Map(paths.map((path, n) => [path, texts[n]]));
  const linkPaths = links.map(({ path }) => path);
  const targets = await tools.readLinks(image, linkPaths, work, signal);
  return new Map(entries.map((entry) => [entry.path, nodeOf(entry, textOf, targets)]));
}

function nodeOf(
  { path, kind, mode, uid, gid }: ListedEntry,
  texts: ReadonlyMap<string, string | undefined>,
  targets: ReadonlyMap<string, string>,
): GuestNode {
  if (kind === 'link') return { kind, target: targets.get(path) ?? '' };
  return kind === 'file' ? { kind, mode, uid, gid, text: texts.get(path) } : { kind, mode, uid, gid };
}
