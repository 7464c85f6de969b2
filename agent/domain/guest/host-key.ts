import { parseSshPublicKey } from '../../../shared/domain/ssh-public-key.js';
import { type GuestTree, pathsIn, textOf } from './guest-tree.js';

/**
 * The public ssh host keys that a guest will show, each as "TYPE BASE64", sorted; empty if it cannot be told, as of one whose
 * cloud-init makes others at its next boot.
 */
export function readHostKeys(tree: GuestTree): readonly string[] {
  if (makesOthers(tree)) return [];
  const paths = pathsIn(tree, '/etc/ssh').filter((path) => /\/ssh_host_[a-z0-9]+_key\.pub$/.test(path));
  return paths.flatMap((path) => publicKeyIn(textOf(tree, path) ?? '')).sort();
}

function publicKeyIn(text: string): readonly string[] {
  try {
    const { type, blob } = parseSshPublicKey(text);
    return [`${type} ${blob}`];
  } catch {
    // A guest may hold anything.
    return [];
  }
}

/** cloud-init deletes host keys whenever its instance-id is another, unless it is told not to. */
function makesOthers(tree: GuestTree): boolean {
  if (!tree.has('/etc/cloud/cloud.cfg') || tree.has('/etc/cloud/cloud-init.disabled')) return false;
  const files = ['/etc/cloud/cloud.cfg', ...pathsIn(tree, '/etc/cloud/cloud.cfg.d')];
  const says = files.flatMap((path) => /^ssh_deletekeys:\s*(\S+)/m.exec(textOf(tree, path) ?? '')?.[1] ?? []);
  return !/^(false|no|off|0)$/i.test(says.at(-1) ?? 'true');
}
